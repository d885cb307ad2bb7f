// The store as a registry serves it: read-only, and nothing that no name of the asked repository holds.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/store.h"

namespace carat {

// GET /v2/<repository>/manifests/<reference>: "library/gemma3" and a tag, or the manifest's own "sha256:<hex>".
// The type is kImageManifestType. Errors: kNotFound.
Result<std::string> shared_manifest(const Store& store, std::string_view repository, std::string_view reference);

struct SharedBlob {
  std::filesystem::path path;
  uint64_t size_bytes = 0;
  FileLock hold;  // while this lives, no carat deletes it
};
// GET /v2/<repository>/blobs/<digest>. Errors: kNotFound.
Result<SharedBlob> shared_blob(const Store& store, std::string_view repository, const Digest& digest);

}  // namespace carat
