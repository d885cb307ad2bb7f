#include "server/gate.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/files.h"

namespace carat::server {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// "[::1]:80" and "localhost:80" without the port and brackets.
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, host.find(']') == std::string_view::npos ? 0 : host.find(']') - 1);
  const size_t colon = host.find(':');
  if (colon != host.rfind(':')) return host;  // an IPv6 address without brackets
  return host.substr(0, colon);
}

bool is_address(std::string_view host) {
  if (host.find(':') != std::string_view::npos) {
    return host.find_first_not_of("0123456789abcdefABCDEF:.%") == std::string_view::npos;
  }
  return !host.empty() && host.find_first_not_of("0123456789.") == std::string_view::npos &&
         std::count(host.begin(), host.end(), '.') == 3;
}

// `*` in the pattern stands for any text.
bool matches(std::string_view pattern, std::string_view text) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == text;
  if (!text.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (size_t i = star; i <= text.size(); ++i) {
    if (matches(rest, text.substr(i))) return true;
  }
  return false;
}

constexpr std::string_view kUsualOrigins[] = {
    "http://localhost", "https://localhost", "http://localhost:*", "https://localhost:*",
    "http://127.0.0.1", "https://127.0.0.1", "http://127.0.0.1:*", "https://127.0.0.1:*",
    "http://0.0.0.0",   "https://0.0.0.0",   "http://0.0.0.0:*",   "https://0.0.0.0:*",
    "app://*",          "file://*",          "tauri://*",          "vscode-webview://*",
    "vscode-file://*",  "http://[::1]",      "http://[::1]:*",     "https://[::1]:*",
};

constexpr std::string_view kAllowedHeaders =
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,X-Api-Key,Anthropic-Version,Openai-Beta,"
    "X-Stainless-Arch,X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,"
    "X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,"
    "X-Stainless-Runtime-Version,X-Stainless-Timeout";

}  // namespace

bool is_loopback(std::string_view host) {
  const std::string name = lower(without_port(host));
  return name == "localhost" || name == "::1" || (name.starts_with("127.") && is_address(name));
}

void ApiKeys::add(std::string_view key) {
  if (const auto digest = Digest::parse(key)) {
    keys_.push_back(*digest);
  } else {
    keys_.push_back(sha256(key));
  }
}

Status ApiKeys::read_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto time = std::filesystem::last_write_time(path, error);
  constexpr size_t kMostBytes = size_t{1} << 20;
  CARAT_TRY(const std::string text, carat::read_file(path, kMostBytes));
  std::vector<Digest> keys;
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    const std::string_view key = trim(line.substr(0, line.find('#')));
    if (key.empty()) continue;
    const auto digest = Digest::parse(key);
    keys.push_back(digest ? *digest : sha256(key));
  }
  if (keys.empty()) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("{}: holds no key (one a line)", path.string())};
  }
  file_keys_ = std::move(keys);
  file_ = path;
  file_time_ = time;
  return {};
}

void ApiKeys::reload_if_changed() {
  if (file_.empty()) return;
  std::error_code error;
  const auto time = std::filesystem::last_write_time(file_, error);
  if (!error && time != file_time_) {
    const Status ignored = read_file(file_);  // a file that is being written is read with the next look
    if (!ignored.ok()) return;
  }
}

std::optional<Digest> ApiKeys::check(std::string_view key) const {
  if (key.empty()) return std::nullopt;
  const Digest digest = sha256(key);
  unsigned found = 0;
  for (const auto* keys : {&keys_, &file_keys_}) {
    for (const Digest& known : *keys) {
      unsigned differences = 0;
      for (size_t i = 0; i < digest.bytes.size(); ++i) differences |= digest.bytes[i] ^ known.bytes[i];
      found |= differences == 0 ? 1u : 0u;
    }
  }
  return found != 0 && !key.empty() ? std::optional(digest) : std::nullopt;
}

Gate::Gate(GateOptions options, ApiKeys keys) : options_(std::move(options)), keys_(std::move(keys)) {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) == 0) machine_name_ = lower(name);
}

bool Gate::host_is_allowed(std::string_view host) const {
  const std::string name = lower(without_port(host));
  if (name.empty()) return true;  // HTTP/1.0
  if (is_address(name) || name == "localhost" || name.ends_with(".localhost") || name == machine_name_ ||
      name.ends_with(".local") || name.ends_with(".internal")) {
    return true;
  }
  for (const std::string& allowed : options_.allowed_hosts) {
    if (matches(lower(allowed), name)) return true;
  }
  return !options_.loopback && !keys_.empty();  // a foreign page has no key; a proxy may be called anything
}

bool Gate::origin_is_allowed(std::string_view origin, std::string_view host) const {
  if (origin.empty()) return true;
  const size_t scheme = origin.find("://");
  if (scheme != std::string_view::npos && !host.empty() && origin.substr(scheme + 3) == host) return true;  // our page
  for (const std::string_view usual : kUsualOrigins) {
    if (matches(usual, origin)) return true;
  }
  return std::any_of(options_.allowed_origins.begin(), options_.allowed_origins.end(),
                     [&](const std::string& allowed) { return matches(allowed, origin); });
}

std::string_view Gate::key_of(const HttpRequest& request) {
  const std::string_view authorization = request.header("authorization");
  if (authorization.size() > 7 && lower(authorization.substr(0, 7)) == "bearer ") return trim(authorization.substr(7));
  return request.header("x-api-key");
}

Headers Gate::cors_headers(const HttpRequest& request) const {
  const std::string_view origin = request.header("origin");
  if (origin.empty()) return {};
  return {{"Access-Control-Allow-Origin", std::string(origin)}, {"Vary", "Origin"}};
}

HttpResponse Gate::preflight(const HttpRequest& request, std::string_view allow) const {
  HttpResponse response{204, "", "", {}};
  response.headers = {{"Access-Control-Allow-Headers", std::string(kAllowedHeaders)},
                      {"Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"},
                      {"Access-Control-Allow-Origin", std::string(request.header("origin"))},
                      {"Access-Control-Max-Age", "43200"},
                      {"Allow", std::string(allow)},
                      {"Vary", "Origin, Access-Control-Request-Headers"}};
  return response;
}

}  // namespace carat::server
