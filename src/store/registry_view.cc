#include "store/registry_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/printable.h"

namespace carat {
namespace {

Error unknown(std::string_view repository) {
  return Error{ErrorCode::kNotFound, fmt::format("'{}' is not shared here", escaped(repository))};
}

// The names of a repository, whatever registry they came from: that of the default registry first.
Result<std::vector<StoredModel>> models_of(const Store& store, std::string_view repository) {
  // Of this store alone: what lies in other programs' folders is theirs to share, and is not looked through for each piece.
  CARAT_TRY(StoreListing listing, Store(store.home()).list());
  std::vector<StoredModel> models;
  for (StoredModel& model : listing.models) {
    if (model.name.space + "/" + model.name.model == repository) models.push_back(std::move(model));
  }
  std::stable_partition(models.begin(), models.end(),
                        [](const StoredModel& model) { return model.name.host == kDefaultHost; });
  return models;
}

}  // namespace

Result<std::string> shared_manifest(const Store& store, std::string_view repository, std::string_view reference) {
  CARAT_TRY(const std::vector<StoredModel> models, models_of(store, repository));
  const auto digest = Digest::parse(reference);
  for (const StoredModel& model : models) {
    if (digest ? model.digest == *digest : model.name.tag == reference) return store.manifest_text(model.name);
  }
  return unknown(repository);
}

Result<SharedBlob> shared_blob(const Store& store, std::string_view repository, const Digest& digest) {
  CARAT_TRY(const std::vector<StoredModel> models, models_of(store, repository));
  for (const StoredModel& model : models) {
    for (const BlobRef& blob : model.manifest.blobs()) {
      if (blob.digest != digest) continue;
      CARAT_TRY(FileLock hold, store.blobs().hold(blob.digest, blob.size_bytes));
      return SharedBlob{store.blobs().path_of(digest), blob.size_bytes, std::move(hold)};
    }
  }
  return unknown(repository);
}

}  // namespace carat
