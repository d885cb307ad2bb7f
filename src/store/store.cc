// Names to models: reading manifests, resolving, saving. What deletes is in sweep.cc.
#include "store/store.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/atomic_file.h"
#include "base/io_error.h"
#include "base/printable.h"
#include "store/describe.h"
#include "store/huggingface_cache.h"
#include "store/image_manifest.h"
#include "store/paths.h"
#include "store/view.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

Error not_found(std::string_view name) {
  return Error{ErrorCode::kNotFound, fmt::format("model '{}' not found", escaped(name))};
}

std::chrono::system_clock::time_point modified_time(const fs::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return {};
  return std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(
      std::chrono::seconds(info.st_mtim.tv_sec) + std::chrono::nanoseconds(info.st_mtim.tv_nsec)));
}

// The names of the entries of one level of manifests/, sorted; what begins with a dot is not ours to list.
std::vector<std::string> entries(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name[0] != '.') names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Result<ResolvedModel> resolve_path(std::string_view text) {
  ResolvedModel model;
  model.name = text;
  model.path = fs::path(text);
  model.is_local = true;
  struct stat info {};
  if (::stat(model.path.c_str(), &info) != 0) {
    if (errno != ENOENT) return io_error(model.path, "look at it", errno);
    return Error{ErrorCode::kNotFound, fmt::format("{}: no such file or folder", one_line(text))};
  }
  if (S_ISREG(info.st_mode)) {
    model.size_bytes = static_cast<uint64_t>(info.st_size);
  } else if (S_ISDIR(info.st_mode)) {
    CARAT_TRY(const std::vector<fs::path> paths, list_folder(model.path));
    for (const fs::path& path : paths) {
      struct stat entry {};
      if (::stat(path.c_str(), &entry) == 0 && S_ISREG(entry.st_mode)) {
        model.size_bytes += static_cast<uint64_t>(entry.st_size);
      }
    }
  } else {
    return Error{ErrorCode::kIo,
                 fmt::format("{}: it is {}, expected a file or a folder", one_line(text), kind_of_file(info.st_mode))};
  }
  model.modified = modified_time(model.path);
  return model;
}

Result<Store> Store::open() {
  CARAT_TRY(fs::path home, store_home());
  Store store(std::move(home));
  const ForeignFolders folders = foreign_folders();
  for (const fs::path& folder : folders.ollama) store.ollama_.emplace_back(folder, store.home_);
  store.huggingface_ = folders.huggingface;
  return store;
}

Store::Store(fs::path home) : home_(std::move(home)), blobs_(home_ / "blobs") {}

Store::Store(fs::path home, const fs::path& noted_in)
    : home_(std::move(home)),
      blobs_(home_ / "blobs", VerifiedNotes(noted_in / "verified", "-" + sha256(home_.string()).hex().substr(0, 12))) {}

fs::path Store::manifest_path(const ModelName& name) const { return home_ / "manifests" / as_stored(name).path(); }

ModelName Store::as_stored(const ModelName& name) const {
  const auto exists = [&](const ModelName& it) {
    struct stat info {};
    return ::lstat((home_ / "manifests" / it.path()).c_str(), &info) == 0;
  };
  if (exists(name)) return name;
  ModelName stored = name;
  fs::path folder = home_ / "manifests";
  for (std::string* part : {&stored.host, &stored.space, &stored.model, &stored.tag}) {
    for (const std::string& entry : entries(folder)) {
      if (equal_but_for_case(entry, *part)) *part = entry;
    }
    folder /= *part;
  }
  return exists(stored) ? stored : name;
}

fs::path Store::download_folder(const Digest& digest) const { return home_ / "downloads" / digest.hex(); }

Result<StoredModel> Store::read(const ModelName& name) const {
  const fs::path path = manifest_path(name);
  auto text = read_small_file(path, kMaxManifestBytes);
  if (!text.ok()) {
    if (text.error().code == ErrorCode::kNotFound) return not_found(name.text());
    return text.error();
  }
  CARAT_TRY(Manifest manifest, parse(*text, path.string()));
  return StoredModel{as_stored(name), std::move(manifest), sha256(*text), modified_time(path), ""};
}

Result<Manifest> Store::parse(std::string_view text, const std::string& where) const {
  CARAT_TRY(const ImageManifest image, parse_image_manifest(text, where));
  return manifest_of(image, where, [this](const BlobRef& blob, size_t limit) { return read_text(blob, limit); });
}

// A blob that is gone is damage: "not found" is what callers say of the model.
Result<std::string> Store::read_text(const BlobRef& blob, size_t limit_bytes) const {
  const fs::path path = blobs_.path_of(blob.digest);
  auto text = read_small_file(path, limit_bytes);
  if (text.ok() || text.error().code != ErrorCode::kNotFound) return text;
  return Error{ErrorCode::kCorruptFile,
               fmt::format("{}: this file of a model is gone; pull the model again", path.string())};
}

Result<std::string> Store::manifest_text(const ModelName& name) const {
  auto text = read_small_file(manifest_path(name), kMaxManifestBytes);
  if (!text.ok() && text.error().code == ErrorCode::kNotFound) return not_found(name.text());
  return text;
}

const Store* Store::holder_of(const ModelName& name) const {
  const auto has = [&name](const Store& store) {
    std::error_code ignored;
    return fs::exists(store.manifest_path(name), ignored);
  };
  if (has(*this)) return this;
  for (const Store& ollama : ollama_) {
    if (has(ollama)) return &ollama;
  }
  return nullptr;
}

Result<StoredModel> Store::find(const ModelName& name) const { return read(name); }

Result<ResolvedModel> Store::resolve(std::string_view name_or_path, PullObserver* hashing) const {
  if (is_local_path(name_or_path)) return resolve_path(name_or_path);
  CARAT_TRY(const ModelName name, ModelName::parse(name_or_path));
  auto model = resolve_own(name, hashing);
  if (model.ok() || model.error().code != ErrorCode::kNotFound) return model;
  for (const Store& ollama : ollama_) {
    auto theirs = ollama.resolve_own(name, hashing);
    if (theirs.ok() || theirs.error().code != ErrorCode::kNotFound) return theirs;
  }
  for (const fs::path& folder : huggingface_) {
    if (auto cached = find_in_huggingface_cache(folder, name)) return std::move(*cached);
  }
  return not_found(name_or_path);
}

Result<ResolvedModel> Store::resolve_own(const ModelName& name, PullObserver* hashing) const {
  CARAT_TRY(const StoredModel stored, read(name));
  const Manifest& manifest = stored.manifest;
  CARAT_CHECK(check_family(manifest, name));
  if (!manifest.adapters.empty()) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("model '{}' has a LoRA adapter, which Carat does not apply; merge it into the weights, or "
                             "take the model without it",
                             name.text())};
  }
  ResolvedModel model;
  for (const BlobRef& blob : manifest.blobs()) {
    const auto tell = [&](uint64_t done_bytes) {
      hashing->on_progress("sha256:" + blob.digest.hex(), done_bytes, blob.size_bytes);
      return !hashing->cancelled();
    };
    auto hold = blobs_.hold_verified(blob.digest, blob.size_bytes, hashing == nullptr ? Blobs::OnBytes() : tell);
    if (!hold.ok()) {
      return Error{hold.error().code == ErrorCode::kNotFound ? ErrorCode::kCorruptFile : hold.error().code,
                   hold.error().code == ErrorCode::kNotFound
                       ? fmt::format("{}: this file of model '{}' is gone; run `carat pull {}` again",
                                     blobs_.path_of(blob.digest).string(), name.text(), name.text())
                       : hold.error().message};
    }
    model.holds.push_back(std::move(*hold));
  }
  model.name = stored.name.text();
  model.path = model_path(home_, blobs_, manifest);
  if (!view_name(manifest).empty()) CARAT_CHECK(make_view(home_, blobs_, manifest));
  model.is_base = manifest.is_base_model;
  model.prompt_template = manifest.prompt_template;
  model.stops = manifest.stops;
  model.parameters = manifest.parameters;
  model.system = manifest.system;
  model.messages = manifest.messages;
  model.license = manifest.license;
  model.license_name = manifest.license_name;
  if (manifest.projector) model.projector = blobs_.path_of(manifest.projector->digest);
  model.digest = stored.digest;
  model.size_bytes = manifest.size_bytes();
  model.modified = stored.modified;
  return model;
}

Result<StoreListing> Store::read_all() const {
  StoreListing listing;
  const fs::path root = home_ / "manifests";
  for (const std::string& host : entries(root)) {
    for (const std::string& space : entries(root / host)) {
      for (const std::string& model : entries(root / host / space)) {
        for (const std::string& tag : entries(root / host / space / model)) {
          const auto name = ModelName::parse(fmt::format("{}/{}/{}:{}", host, space, model, tag));
          if (!name.ok()) {
            const fs::path path = root / host / space / model / tag;
            listing.problems.push_back(
                {ErrorCode::kCorruptFile,
                 fmt::format("{}: no possible name of a model; move it away", escaped(path.string()))});
            continue;
          }
          auto stored = read(*name);
          if (stored.ok()) {
            listing.models.push_back(std::move(*stored));
          } else if (stored.error().code != ErrorCode::kNotFound) {  // not found: removed while we looked
            listing.problems.push_back(std::move(stored.error()));
          }
        }
      }
    }
  }
  return listing;
}

Result<StoreListing> Store::list() const {
  CARAT_TRY(StoreListing listing, read_all());
  const auto add = [&listing](std::vector<StoredModel> models, const fs::path& where) {
    for (StoredModel& model : models) {
      const bool hidden = std::any_of(listing.models.begin(), listing.models.end(),
                                      [&](const StoredModel& m) { return m.name == model.name; });
      model.place = where.string();
      // Other programs have models of other families too: what cannot be run here is not listed.
      if (!hidden && check_family(model.manifest, model.name).ok()) listing.models.push_back(std::move(model));
    }
  };
  for (const Store& ollama : ollama_) {  // what is damaged there is not ours to complain about
    if (auto theirs = ollama.read_all(); theirs.ok()) add(std::move(theirs->models), ollama.home_);
  }
  for (const fs::path& folder : huggingface_) add(list_huggingface_cache(folder), folder);
  std::stable_sort(listing.models.begin(), listing.models.end(),
                   [](const StoredModel& a, const StoredModel& b) { return a.modified > b.modified; });
  return listing;
}

Result<std::string> Store::license_text(const std::optional<BlobRef>& license) const {
  if (!license) return std::string();
  auto hold = blobs_.hold_verified(license->digest, license->size_bytes);
  if (hold.ok()) return read_small_file(blobs_.path_of(license->digest), 16 << 20);
  for (const Store& ollama : ollama_) {
    if (ollama.blobs_.hold(license->digest, license->size_bytes).ok()) return ollama.license_text(license);
  }
  return hold.error();
}

Status Store::save(const ModelName& name, const Manifest& manifest, unsigned mode) const {
  if (!manifest.messages.empty()) mode = kForOwner;  // what somebody said
  CARAT_CHECK(make_folders(blobs_.folder()));
  // Nobody deletes blobs meanwhile, so the texts that are put here are still there when the manifest names them.
  CARAT_TRY(const FileLock lock, FileLock::acquire(blobs_.folder(), LockMode::kShared));
  CARAT_TRY(const ImageManifest image, image_of(manifest, [this, mode](std::string_view text) -> Result<BlobRef> {
              CARAT_TRY(const StoredBlob blob, blobs_.put(text, mode));
              return blob.ref;
            }));
  return write_manifest(name, manifest, to_json(image), mode);
}

Status Store::save_image(const ModelName& name, std::string_view text, unsigned mode) const {
  CARAT_CHECK(make_folders(blobs_.folder()));
  CARAT_TRY(const FileLock lock, FileLock::acquire(blobs_.folder(), LockMode::kShared));
  CARAT_TRY(const Manifest manifest, parse(text, "the manifest"));
  if (!manifest.messages.empty()) mode = kForOwner;
  return write_manifest(name, manifest, text, mode);
}

// Under the shared lock of the blobs folder.
Status Store::write_manifest(const ModelName& name, const Manifest& manifest, std::string_view text,
                             unsigned mode) const {
  for (const BlobRef& blob : manifest.blobs()) {
    CARAT_TRY(const FileLock hold, blobs_.hold(blob.digest, blob.size_bytes));
  }
  // What is written can be read again: no text is too long, no file's name impossible.
  if (text.size() > kMaxManifestBytes) {
    return Error{ErrorCode::kTooLong, fmt::format("{}: its manifest has {} bytes, at most {} can be saved", name.text(),
                                                  text.size(), kMaxManifestBytes)};
  }
  CARAT_TRY(const Manifest readable, parse(text, name.text()));
  CARAT_CHECK(make_view(home_, blobs_, manifest));
  const fs::path path = manifest_path(name);
  CARAT_CHECK(make_folders(path.parent_path()));
  return write_atomically(path, text, mode);
}

Status Store::copy(const ModelName& from, const ModelName& to) const {
  CARAT_TRY(const std::string text, manifest_text(from));
  struct stat info {};
  const bool is_private = ::stat(manifest_path(from).c_str(), &info) == 0 && (info.st_mode & 0077) == 0;
  return save_image(to, text, is_private ? kForOwner : kForEverybody);
}

Status Store::verify(const Manifest& manifest, const std::function<bool(uint64_t)>& on_bytes) const {
  for (const BlobRef& blob : manifest.blobs()) CARAT_CHECK(blobs_.verify(blob.digest, blob.size_bytes, on_bytes));
  return {};
}

}  // namespace carat
