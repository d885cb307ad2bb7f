// A model from a registry: its manifest, the small blobs (they say whether Carat runs it), the weights, and last the
// name.
#include <fmt/format.h>

#include <algorithm>

#include "store/describe.h"
#include "store/pull/registry.h"
#include "store/pull/sources.h"

namespace carat {

Status pull_registry(const Store& store, const ModelName& name, const std::string& base_url, PullObserver& observer,
                     const PullOptions& options) {
  observer.on_status("pulling manifest");
  HttpClient http(options.http);
  Registry registry(http, base_url, name, observer);
  CARAT_TRY(const std::string text, registry.manifest());
  CARAT_TRY(const ImageManifest image, parse_image_manifest(text, fmt::format("the manifest of '{}'", name.text())));

  std::vector<BlobRef> blobs = image.blobs();
  std::stable_sort(blobs.begin(), blobs.end(),
                   [](const BlobRef& a, const BlobRef& b) { return a.size_bytes < b.size_bytes; });
  std::vector<StoredBlob> fetched;  // their locks last until the manifest names them
  bool is_known = false;
  const auto check = [&]() -> Status {
    CARAT_TRY(const Manifest manifest, manifest_of(image, "the manifest", [&](const BlobRef& blob, size_t limit) {
                return store.read_text(blob, limit);
              }));
    is_known = true;
    return check_family(manifest, name);
  };
  constexpr uint64_t kSmall = 1 << 20;
  for (const BlobRef& blob : blobs) {
    // Every text that the check reads is small, so they are all there before the first large blob.
    if (blob.size_bytes > kSmall && !is_known) CARAT_CHECK(check());
    CARAT_TRY(StoredBlob stored, download_blob(store.blobs(), http, registry.blob(blob.digest), blob.digest,
                                               blob.size_bytes, observer, options.limits));
    fetched.push_back(std::move(stored));
  }
  if (!is_known) CARAT_CHECK(check());
  observer.on_status("verifying sha256 digest");
  observer.on_status("writing manifest");
  const auto before = store.find(name);
  CARAT_CHECK(store.save_image(name, text));
  if (before.ok()) {
    CARAT_TRY(const RemovalReport removed, store.remove_unused(before->manifest.blobs()));
    if (removed.freed_bytes > 0) observer.on_status("removing unused layers");
  }
  observer.on_status("success");
  return {};
}

}  // namespace carat
