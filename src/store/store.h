// The store: ~/.carat, or CARAT_HOME. What is in it:
// (Ollama lays out its folder in the same way, so that one is read as a store of its own.)
//   blobs/sha256-<hex>                     files by the digest of their bytes, each there once
//   manifests/host/namespace/model/tag     what a name stands for (manifest.h); written last, so it never names a blob
//   that
//                                          is not there
//   verified/<hex>                         what each blob looked like when it was last hashed (verified.h)
//   views/<hex>/                           links for models of several files (view.h)
//   downloads/<hex>/                       what a pull is fetching
// Several processes may use it at once; locks.h says how. Nothing is written before something is stored, and a store on
// a read-only file system can be run from.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/result.h"
#include "store/blobs.h"
#include "store/locks.h"
#include "store/manifest.h"
#include "store/model_name.h"
#include "store/pull/observer.h"

namespace carat {

// What `carat run X` needs to know about X, be it a name in the store or a path.
struct ResolvedModel {
  std::string name;            // "gemma3:270m-pt"; a path as it was given
  std::filesystem::path path;  // what ModelFile::open takes: a file, or a Hugging Face folder
  bool is_local = false;       // a path, not a name: of the following, only size and time say something
  bool is_base = false;        // of a name: no chat template in its file. Of a path: see ModelFile::has_chat_template
  std::optional<std::string> prompt_template;                   // Ollama's notation; none: the model file's own
  std::vector<std::string> stops;                               // texts that end an answer
  std::vector<std::pair<std::string, std::string>> parameters;  // "temperature", "0.7"; without stop
  std::string system;
  std::vector<ManifestMessage> messages;  // a saved conversation (/save) to go on with
  std::optional<BlobRef> license;         // a text in the store
  std::string license_name;
  std::filesystem::path projector;  // the vision tower's file, where the model comes with one of its own
  Digest digest;                    // of the manifest: the model's id
  uint64_t size_bytes = 0;
  std::chrono::system_clock::time_point modified;
  std::vector<FileLock> holds;  // while these live, no carat deletes the model's files
};

// A file or a folder as a model; needs no store. Error: kNotFound.
Result<ResolvedModel> resolve_path(std::string_view path);

struct StoredModel {
  ModelName name;
  Manifest manifest;
  Digest digest;  // of the manifest: the model's id
  std::chrono::system_clock::time_point modified;
  std::string place;  // the folder of another program that it lies in; empty: this store
};

struct StoreListing {
  std::vector<StoredModel> models;  // newest first
  std::vector<Error> problems;      // manifests that cannot be read: one line each
};

struct RemovalReport {
  uint64_t freed_bytes = 0;
  uint64_t in_use_bytes = 0;    // blobs that a running model holds: the next remove or sweep deletes them
  std::vector<Error> problems;  // unreadable manifests: while there are any, no blob is deleted that they might name
};

class Store {
 public:
  // CARAT_HOME, else ~/.carat. Error: kInvalidArgument if there is neither.
  static Result<Store> open();
  explicit Store(std::filesystem::path home);
  // Another program's folder, read and never written: what was verified of it is noted under `noted_in`.
  Store(std::filesystem::path home, const std::filesystem::path& noted_in);

  const std::filesystem::path& home() const { return home_; }
  const Blobs& blobs() const { return blobs_; }

  // A path if it looks like one (is_local_path), else a name: in this store, then in Ollama's folders, then in the
  // Hugging Face cache; what lies there is used in place and never written to. Errors: kNotFound "model 'x' not found", kInvalidArgument
  // (no possible name), kCorruptFile (an edited manifest, a blob of another size).
  // `hashing` is told how far it got with files that are read for the first time, and may cancel that.
  Result<ResolvedModel> resolve(std::string_view name_or_path, PullObserver* hashing = nullptr) const;

  Result<StoreListing> list() const;
  Result<StoredModel> find(const ModelName& name) const;                          // in this store; errors as resolve
  Result<std::string> license_text(const std::optional<BlobRef>& license) const;  // "" if there is none

  // Names these blobs. Error: kNotFound if one is not in the store.
  // `mode`: kForOwner for what holds a conversation; one with messages is so in any case.
  Status save(const ModelName& name, const Manifest& manifest, unsigned mode = kForEverybody) const;
  // The same with a registry's manifest, byte for byte.
  Status save_image(const ModelName& name, std::string_view text, unsigned mode = kForEverybody) const;
  // What a registry would answer for this name: the manifest's bytes.
  Result<std::string> manifest_text(const ModelName& name) const;
  // The store that has this name: this one, or a folder of Ollama's; null if none does.
  const Store* holder_of(const ModelName& name) const;
  // A small blob's text, of at most so many bytes.
  Result<std::string> read_text(const BlobRef& blob, size_t limit_bytes) const;
  Status copy(const ModelName& from, const ModelName& to) const;
  // Removes the name, then what no other name uses. A model that runs keeps running: its files stay until it ends.
  Result<RemovalReport> remove(const ModelName& name) const;
  // Of these blobs, those that no name uses: after a name got another manifest.
  Result<RemovalReport> remove_unused(const std::vector<BlobRef>& blobs) const;
  // Everything that no manifest names and nobody is writing or using: blobs, partial files, downloads, views.
  Result<RemovalReport> sweep_unused() const;
  // Hashes every blob of the model. `on_bytes` as in Blobs::verify.
  Status verify(const Manifest& manifest, const std::function<bool(uint64_t done_bytes)>& on_bytes = nullptr) const;

  std::filesystem::path download_folder(const Digest& digest) const;

 private:
  std::filesystem::path manifest_path(const ModelName& name) const;
  // The name in the case that it was stored with; as it is if nothing like it is stored.
  ModelName as_stored(const ModelName& name) const;
  Result<StoredModel> read(const ModelName& name) const;
  Result<Manifest> parse(std::string_view text, const std::string& where) const;
  Result<StoreListing> read_all() const;
  Result<ResolvedModel> resolve_own(const ModelName& name, PullObserver* hashing) const;
  Status write_manifest(const ModelName& name, const Manifest& manifest, std::string_view text, unsigned mode) const;

  std::filesystem::path home_;
  Blobs blobs_;
  std::vector<Store> ollama_;                       // folders of that program: read, never written
  std::vector<std::filesystem::path> huggingface_;  // the same
};

}  // namespace carat
