#include "store/pull/registry.h"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <ctime>

#include "base/printable.h"
#include "store/json_access.h"
#include "store/pull/ollama_key.h"

namespace carat {
namespace {

constexpr size_t kMaxManifestAnswer = 4 << 20;
constexpr size_t kMaxTokenAnswer = 64 << 10;

std::string query_encoded(const std::string& text) {
  std::string encoded = percent_encoded(text);
  for (size_t at = 0; (at = encoded.find('/', at)) != std::string::npos;) encoded.replace(at, 1, "%2F");
  return encoded;
}

// Sixteen random bytes, so that a signed request is good once.
std::string nonce() {
  std::array<unsigned char, 16> bytes{};
  CARAT_ASSERT(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1);
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace

Registry::Registry(HttpClient& http, std::string base_url, const ModelName& name, PullObserver& observer)
    : http_(http),
      base_url_(std::move(base_url)),
      repository_(name.space + "/" + name.model),
      tag_(name.tag),
      what_(name.text()),
      observer_(observer),
      login_(find_login(base_url_, name.host == kDefaultHost)) {}

std::function<bool()> Registry::stop() const {
  return [this] { return observer_.cancelled(); };
}

Error Registry::refused(int status, std::string_view what) const {
  const std::string host = origin_of(base_url_).substr(0, origin_of(base_url_).rfind(':'));
  return Error{ErrorCode::kUnsupported, fmt::format("{}: it wants {} login for {} ({}): {}", escaped(host),
                                                    is_guest_ ? "a" : "another", what, status, login_.advice)};
}

// As a guest first: a login is told only to a registry that wants one.
Result<std::string> Registry::authorization_for(const HttpHead& head) {
  if (const std::string* text = head.find("www-authenticate")) challenge_ = parse_challenge(*text);
  if (challenge_.scheme == "basic" && !login_.basic.empty()) {
    is_guest_ = false;
    return login_.basic;
  }
  if (challenge_.scheme != "bearer" || challenge_.realm.empty()) return refused(head.status, what_);
  if (is_guest_ && !guest_had_token_) {
    guest_had_token_ = true;
    if (auto token = token_from_realm(""); token.ok() || token.error().code != ErrorCode::kUnsupported) return token;
  }
  is_guest_ = false;
  return token_from_realm(login_.basic);
}

// The token goes back to this registry only, whoever gave it out.
Result<std::string> Registry::token_from_realm(const std::string& basic) {
  HttpRequest request;
  request.url = resolve_url(base_url_ + "/", challenge_.realm);
  std::string query =
      fmt::format("scope={}&service={}", query_encoded(challenge_.scope), query_encoded(challenge_.service));
  if (!is_guest_) {
    if (basic.empty() && login_.ollama_key.empty()) return is_guest_ = true, refused(401, what_);
    if (!may_give_tokens(base_url_, request.url)) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: it sends its guests to {} for a token, which is not told the login",
                               escaped(base_url_), escaped(origin_of(request.url)))};
    }
    request.authorization = basic;
    if (basic.empty()) query = fmt::format("nonce={}&{}&ts={}", nonce(), query, std::time(nullptr));
  }
  request.url += (request.url.find('?') == std::string::npos ? "?" : "&") + query;
  if (!is_guest_ && basic.empty()) {
    auto key = OllamaKey::read(login_.ollama_key);
    if (!key.ok() && key.error().code == ErrorCode::kNotFound) return is_guest_ = true, refused(401, what_);
    if (!key.ok()) return key.error();
    CARAT_TRY(request.authorization, key->sign(token_request_text(request.url)));
  }
  CARAT_TRY(const HttpAnswer answer, http_.fetch(request, kMaxTokenAnswer, stop()));
  const auto json = parse_json(answer.body, "token");
  for (const char* key : {"token", "access_token"}) {
    const std::string token = answer.head.status == 200 && json.ok() ? json_text(*json, key) : "";
    if (!token.empty() && token.find_first_of("\r\n") == std::string::npos) return "Bearer " + token;
  }
  return refused(answer.head.status, what_);
}

Result<HttpAnswer> Registry::ask(HttpRequest request, const std::string& path) {
  request.url = origin_of(path).empty() ? fmt::format("{}/v2/{}/{}", base_url_, repository_, path) : path;
  const bool is_here = origin_of(request.url) == origin_of(base_url_);
  for (int attempt = 0;; ++attempt) {
    request.authorization = is_here ? authorization_ : "";
    CARAT_TRY(HttpAnswer answer, http_.fetch(request, kMaxManifestAnswer, stop()));
    // 403: a guest's token that does not open this.
    const bool may_help = answer.head.status == 401 || (answer.head.status == 403 && is_guest_ && guest_had_token_);
    if (!may_help || !is_here || attempt == 2 || (attempt > 0 && !is_guest_)) return answer;
    auto authorization = authorization_for(answer.head);
    if (!authorization.ok() && answer.head.status == 403) return answer;
    if (!authorization.ok()) return authorization.error();
    authorization_ = std::move(*authorization);
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
      return refused(answer.head.status, what_);
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
    CARAT_TRY(authorization_, authorization_for(head));
    return authorization_;
  };
  return source;
}

}  // namespace carat
