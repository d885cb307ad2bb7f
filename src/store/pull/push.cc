// As Ollama pushes: parts of at least 100 MB; where the registry answers with the address of a storage for one, the part
// goes there, and its MD5 into the tag by which the storage's parts are put together.
#include "store/pull/push.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "store/paths.h"
#include "store/pull/registry.h"

namespace carat {
namespace {

constexpr uint64_t kChunkBytes = 100 << 20;  // as Ollama's least

Error refused(const Registry& registry, int status, std::string_view what) {
  if (status == 401 || status == 403) return registry.refused(status, what);
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

// What a storage's entity tag is made of; nothing here relies on it.
class Md5 {
 public:
  Md5() { CARAT_ASSERT(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_md5(), nullptr) == 1); }
  void update(std::span<const std::byte> bytes) {
    CARAT_ASSERT(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  }
  std::string finish() {
    std::string bytes(16, '\0');
    CARAT_ASSERT(EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(bytes.data()), nullptr) == 1);
    return bytes;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_{EVP_MD_CTX_new()};
};

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
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

    std::string hashes;  // of all parts, where they went to a storage
    size_t parts = 0;
    for (uint64_t offset = 0; offset < blob_.size_bytes; offset += kChunkBytes, ++parts) {
      const uint64_t bytes = std::min(kChunkBytes, blob_.size_bytes - offset);
      Md5 md5;
      HttpRequest part;
      part.method = "PATCH";
      part.headers = {"Content-Type: application/octet-stream", "X-Redirect-Uploads: 1",
                      fmt::format("Content-Range: {}-{}", offset, offset + bytes - 1)};
      part.upload_bytes = bytes;
      part.read_upload = [&, fd = hold.fd()](uint64_t at, std::span<std::byte> buffer) -> size_t {
        if (observer_.cancelled()) return 0;
        const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset + at));
        if (got <= 0) return 0;
        if (at == 0) md5 = Md5();  // it is sent again, to another address
        md5.update({buffer.data(), static_cast<size_t>(got)});
        tell(offset + at + static_cast<uint64_t>(got));
        return static_cast<size_t>(got);
      };
      CARAT_TRY(const HttpAnswer answer, registry_.ask(part, url));
      const bool is_elsewhere = answer.head.status == 307;
      if (!is_elsewhere && answer.head.status != 202 && answer.head.status != 201)
        return refused(registry_, answer.head.status, "a part of a blob");
      CARAT_TRY(url, location_of(answer));
      if (!is_elsewhere) continue;
      part.method = "PUT";
      part.headers = {"Content-Type: application/octet-stream"};
      const std::string* storage = answer.head.find("location");
      CARAT_TRY(const HttpAnswer put,
                registry_.ask(part, resolve_url(answer.head.url, storage == nullptr ? "" : *storage)));
      if (put.head.status < 200 || put.head.status > 299)
        return refused(registry_, put.head.status, "a part of a blob");
      hashes += md5.finish();
    }
    HttpRequest end;
    end.method = "PUT";
    url += fmt::format("{}digest={}", url.find('?') == std::string::npos ? "?" : "&", blob_.digest.text());
    if (!hashes.empty()) {
      Md5 all;
      all.update(std::as_bytes(std::span(hashes)));
      url += fmt::format("&etag={}-{}", hex(all.finish()), parts);
    }
    CARAT_TRY(const HttpAnswer answer, registry_.ask(std::move(end), url));
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
  if (name.host == kHuggingFaceHost) {
    return Error{
        ErrorCode::kUnsupported,
        "Hugging Face takes no pushes of this kind: `hf upload` puts files of yours there, and Carat pulls them"};
  }
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
