// `carat serve --share`: the store as a registry, read-only, in Docker's protocol as Ollama and Carat pull it. Weights go
// from the file to the socket in pieces; ranges let a client fetch several at once and go on where it stopped.
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <memory>
#include <optional>

#include "server/app.h"
#include "server/json_text.h"
#include "store/image_manifest.h"
#include "store/registry_view.h"

namespace carat::server {
namespace {

void refuse(const ExchangePtr& exchange, int status, std::string_view code, std::string_view message) {
  JsonWriter json;
  json.begin_object().key("errors").begin_array().begin_object();
  json.field("code", code).field("message", message).end_object().end_array().end_object();
  exchange->respond({status, "application/json", json.take(), {}});
}

// "bytes=100-199" or "bytes=100-" of a file of `size` bytes. None: the header is not one of these, and is ignored.
struct Range {
  uint64_t begin = 0, end = 0;
};
std::optional<Range> parse_range(std::string_view text, uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  if (!text.starts_with(kUnit)) return std::nullopt;
  text.remove_prefix(kUnit.size());
  uint64_t first = 0, last = UINT64_MAX;
  const auto [dash, bad_first] = std::from_chars(text.data(), text.data() + text.size(), first);
  if (bad_first != std::errc() || dash == text.data() + text.size() || *dash != '-') return std::nullopt;
  if (dash + 1 != text.data() + text.size()) {
    const auto [end, bad_last] = std::from_chars(dash + 1, text.data() + text.size(), last);
    if (bad_last != std::errc() || end != text.data() + text.size() || last < first) return std::nullopt;
  }
  return Range{first, last >= size ? size : last + 1};
}

void send_blob(const ExchangePtr& exchange, SharedBlob blob, const std::string& repository, const Digest& digest) {
  const uint64_t size = blob.size_bytes;
  Range range{0, size};
  HttpResponse response;
  response.content_type = "application/octet-stream";
  // Ollama asks for the address that the parts come from, and takes it from this header of a 200 too.
  response.headers = {{"Docker-Content-Digest", digest.text()},
                      {"Accept-Ranges", "bytes"},
                      {"Location", fmt::format("/v2/{}/blobs/{}", repository, digest.text())}};
  if (const auto asked = parse_range(exchange->request().header("range"), size)) {
    if (asked->begin >= size) {
      response.status = 416;
      response.headers.emplace_back("Content-Range", fmt::format("bytes */{}", size));
      return exchange->respond(std::move(response));
    }
    range = *asked;
    response.status = 206;
    response.headers.emplace_back("Content-Range", fmt::format("bytes {}-{}/{}", range.begin, range.end - 1, size));
  }
  response.source_bytes = range.end - range.begin;
  const auto held = std::make_shared<SharedBlob>(std::move(blob));
  response.source = [held, at = range.begin](std::span<char> piece) mutable -> size_t {
    const ssize_t got = ::pread(held->hold.fd(), piece.data(), piece.size(), static_cast<off_t>(at));
    if (got <= 0) return 0;
    at += static_cast<uint64_t>(got);
    return static_cast<size_t>(got);
  };
  exchange->respond(std::move(response));
}

void registry(App& app, const ExchangePtr& exchange) {
  const std::string rest = path_tail(exchange->request(), "/v2/");
  const auto cut = [&rest](std::string_view word) -> std::optional<std::pair<std::string, std::string>> {
    const size_t at = rest.rfind(word);
    if (at == std::string::npos) return std::nullopt;
    return std::pair(rest.substr(0, at), rest.substr(at + word.size()));
  };
  if (const auto parts = cut("/manifests/")) {
    const auto text = shared_manifest(app.store(), parts->first, parts->second);
    if (!text) return refuse(exchange, 404, "MANIFEST_UNKNOWN", "manifest unknown");
    return exchange->respond(
        {200, std::string(kImageManifestType), *text, {{"Docker-Content-Digest", sha256(*text).text()}}});
  }
  const auto parts = cut("/blobs/");
  const auto digest = parts ? Digest::parse(parts->second) : std::nullopt;
  if (!digest) return refuse(exchange, 404, "NAME_UNKNOWN", "only manifests and blobs are shared");
  auto blob = shared_blob(app.store(), parts->first, *digest);
  if (!blob) return refuse(exchange, 404, "BLOB_UNKNOWN", "blob unknown to registry");
  send_blob(exchange, std::move(*blob), parts->first, *digest);
}

void ping(App&, const ExchangePtr& exchange) { exchange->respond({200, "application/json", "{}", {}}); }

}  // namespace

void add_registry_routes(Router& router) {
  router.add({"GET", "/v2/", ping, true, true, true, false, "Whether models are shared (a registry's protocol)"});
  router.add({"GET", "/v2/*", registry, true, false, true, false, "Manifests and blobs (a registry's protocol)"});
}

}  // namespace carat::server
