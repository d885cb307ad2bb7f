#include "store/pull/registry.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "formats/json_guard.h"

namespace carat {
namespace {

constexpr size_t kMaxManifestAnswer = 4 << 20;
constexpr size_t kMaxTokenAnswer = 64 << 10;

// One value of `Bearer realm="...",service="...",scope="..."`.
std::string challenge_value(const std::string& challenge, std::string_view key) {
  const std::string pattern = std::string(key) + "=\"";
  const size_t begin = challenge.find(pattern);
  if (begin == std::string::npos) return {};
  const size_t end = challenge.find('"', begin + pattern.size());
  if (end == std::string::npos) return {};
  return challenge.substr(begin + pattern.size(), end - begin - pattern.size());
}

std::string query_encoded(const std::string& text) {
  std::string encoded = percent_encoded(text);
  for (size_t at = 0; (at = encoded.find('/', at)) != std::string::npos;) encoded.replace(at, 1, "%2F");
  return encoded;
}

}  // namespace

Registry::Registry(HttpClient& http, std::string base_url, const ModelName& name, PullObserver& observer)
    : http_(http),
      base_url_(std::move(base_url)),
      repository_(name.space + "/" + name.model),
      tag_(name.tag),
      what_(name.text()),
      observer_(observer) {}

std::function<bool()> Registry::stop() const {
  return [this] { return observer_.cancelled(); };
}

// Anybody gets a token for what is public. It goes back to this registry only, whoever gave it out.
Result<std::string> Registry::token_for(const HttpHead& head) {
  const std::string* challenge = head.find("www-authenticate");
  const std::string realm = challenge == nullptr ? "" : challenge_value(*challenge, "realm");
  if (realm.empty() || challenge->substr(0, 7) != "Bearer ") {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: it wants a login, and Carat has none", base_url_)};
  }
  HttpRequest request;
  request.url = resolve_url(base_url_ + "/", realm);
  request.url += fmt::format("{}service={}&scope={}", request.url.find('?') == std::string::npos ? "?" : "&",
                             query_encoded(challenge_value(*challenge, "service")),
                             query_encoded(challenge_value(*challenge, "scope")));
  CARAT_TRY(const HttpAnswer answer, http_.fetch(request, kMaxTokenAnswer, stop()));
  const auto json =
      check_json_limits(answer.body).empty() ? nlohmann::json::parse(answer.body, nullptr, false) : nlohmann::json();
  for (const char* key : {"token", "access_token"}) {
    if (answer.head.status != 200 || !json.is_object() || !json.contains(key) || !json[key].is_string()) continue;
    const auto token = json[key].get<std::string>();
    if (token.find_first_of("\r\n") == std::string::npos) return "Bearer " + token;
  }
  return Error{ErrorCode::kUnsupported,
               fmt::format("{}: it wants a login, and gives no token to a guest ({})", base_url_, answer.head.status)};
}

Result<HttpAnswer> Registry::ask(HttpRequest request, const std::string& path) {
  request.url = origin_of(path).empty() ? fmt::format("{}/v2/{}/{}", base_url_, repository_, path) : path;
  for (bool asked = false;; asked = true) {
    request.authorization = origin_of(request.url) == origin_of(base_url_) ? authorization_ : "";
    CARAT_TRY(HttpAnswer answer, http_.fetch(request, kMaxManifestAnswer, stop()));
    if (answer.head.status != 401 || asked) return answer;
    CARAT_TRY(authorization_, token_for(answer.head));
  }
}

Result<std::string> Registry::manifest() {
  HttpRequest request;
  request.headers = {fmt::format("Accept: {}", kImageManifestType)};
  CARAT_TRY(HttpAnswer answer, ask(std::move(request), "manifests/" + tag_));
  switch (answer.head.status) {
    case 200:
      return std::move(answer.body);
    case 401:
    case 403:
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: it does not give '{}' to a guest ({})", base_url_, what_, answer.head.status)};
    case 404:
      return Error{ErrorCode::kNotFound, fmt::format("{}: it has no '{}'", base_url_, what_)};
    default:
      return Error{ErrorCode::kNetwork, fmt::format("{}: it answers with status {}", base_url_, answer.head.status)};
  }
}

DownloadSource Registry::blob(const Digest& digest) {
  DownloadSource source;
  source.url = fmt::format("{}/v2/{}/blobs/{}", base_url_, repository_, digest.text());
  source.authorization = authorization_;
  source.renew = [this](const HttpHead& head) -> Result<std::string> {
    CARAT_TRY(authorization_, token_for(head));
    return authorization_;
  };
  return source;
}

}  // namespace carat
