#include "store/pull/push.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "store/paths.h"
#include "store/pull/registry.h"

namespace carat {
namespace {

constexpr uint64_t kChunkBytes = 100 << 20;  // as Ollama's least

Error refused(const Registry& registry, int status, std::string_view what) {
  if (status == 401 || status == 403) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: it wants a login for that ({})", registry.base_url(), status)};
  }
  return Error{ErrorCode::kNetwork,
               fmt::format("{}: it answers with status {} to {}", registry.base_url(), status, what)};
}

Result<std::string> location_of(const HttpAnswer& answer) {
  for (const char* header : {"docker-upload-location", "location"}) {
    if (const std::string* text = answer.head.find(header)) {
      if (std::string url = resolve_url(answer.head.url, *text); !url.empty()) return url;
    }
  }
  return Error{ErrorCode::kNetwork, fmt::format("{}: it does not say where to go on", origin_of(answer.head.url))};
}

class BlobUpload {
 public:
  BlobUpload(const Store& store, Registry& registry, const BlobRef& blob, PullObserver& observer)
      : store_(store), registry_(registry), blob_(blob), observer_(observer) {}

  Status run() {
    const auto tell = [&](uint64_t done_bytes) {
      observer_.on_progress(blob_.digest.text(), done_bytes, blob_.size_bytes);
    };
    HttpRequest look;
    look.method = "HEAD";
    CARAT_TRY(const HttpAnswer there, registry_.ask(std::move(look), "blobs/" + blob_.digest.text()));
    if (there.head.status == 200) return tell(blob_.size_bytes), Status();
    CARAT_TRY(const FileLock hold, store_.blobs().hold(blob_.digest, blob_.size_bytes));
    HttpRequest begin;
    begin.method = "POST";
    CARAT_TRY(const HttpAnswer begun, registry_.ask(std::move(begin), "blobs/uploads/"));
    if (begun.head.status == 201) return tell(blob_.size_bytes), Status();
    if (begun.head.status != 202) return refused(registry_, begun.head.status, "the beginning of an upload");
    CARAT_TRY(std::string url, location_of(begun));

    for (uint64_t offset = 0; offset < blob_.size_bytes; offset += kChunkBytes) {
      const uint64_t bytes = std::min(kChunkBytes, blob_.size_bytes - offset);
      HttpRequest chunk;
      chunk.method = "PATCH";
      chunk.headers = {"Content-Type: application/octet-stream",
                       fmt::format("Content-Range: {}-{}", offset, offset + bytes - 1)};
      chunk.upload_bytes = bytes;
      uint64_t sent = 0;
      chunk.read_upload = [&, fd = hold.fd()](std::span<std::byte> buffer) -> size_t {
        if (observer_.cancelled()) return 0;
        const size_t want = std::min<uint64_t>(buffer.size(), bytes - sent);
        const ssize_t got = ::pread(fd, buffer.data(), want, static_cast<off_t>(offset + sent));
        if (got <= 0) return 0;
        sent += static_cast<uint64_t>(got);
        tell(offset + sent);
        return static_cast<size_t>(got);
      };
      CARAT_TRY(const HttpAnswer answer, registry_.ask(std::move(chunk), url));
      if (answer.head.status != 202 && answer.head.status != 201)
        return refused(registry_, answer.head.status, "a part of a blob");
      CARAT_TRY(url, location_of(answer));
    }
    HttpRequest end;
    end.method = "PUT";
    const char* separator = url.find('?') == std::string::npos ? "?" : "&";
    CARAT_TRY(const HttpAnswer answer,
              registry_.ask(std::move(end), fmt::format("{}{}digest={}", url, separator, blob_.digest.text())));
    if (answer.head.status != 201) return refused(registry_, answer.head.status, "the end of an upload");
    return tell(blob_.size_bytes), Status();
  }

 private:
  const Store& store_;
  Registry& registry_;
  const BlobRef& blob_;
  PullObserver& observer_;
};

}  // namespace

Status push(const Store& store, const ModelName& name, PullObserver& observer, const PullOptions& options) {
  observer.on_status("retrieving manifest");
  CARAT_TRY(const std::string text, store.manifest_text(name));
  CARAT_TRY(const ImageManifest image, parse_image_manifest(text, name.text()));
  PullOptions how = options;
  std::string base = fmt::format("{}://{}", options.http.plain_http ? "http" : "https", name.host);
  if (name.host == kDefaultHost) {
    base = ollama_registry();
    how.http.plain_http |= asks_for_plain_http(base);
  }
  HttpClient http(how.http);
  Registry registry(http, base, name, observer);
  for (const BlobRef& blob : image.blobs()) {
    CARAT_CHECK(BlobUpload(store, registry, blob, observer).run());
    if (observer.cancelled()) return Error{ErrorCode::kCancelled, "cancelled"};
  }
  observer.on_status("pushing manifest");
  HttpRequest request;
  request.method = "PUT";
  request.headers = {fmt::format("Content-Type: {}", kImageManifestType)};
  request.body = text;
  CARAT_TRY(const HttpAnswer answer, registry.ask(std::move(request), "manifests/" + name.tag));
  if (answer.head.status != 201 && answer.head.status != 200)
    return refused(registry, answer.head.status, "the manifest");
  observer.on_status("success");
  return {};
}

}  // namespace carat
