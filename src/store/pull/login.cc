#include "store/pull/login.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/files.h"
#include "base/printable.h"
#include "store/json_access.h"
#include "store/paths.h"
#include "store/pull/base64.h"
#include "store/pull/http.h"

namespace carat {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return out;
}

// "registry.example:5000" of an address or of what Docker calls it ("https://registry.example:5000/v1/").
std::string host_of(std::string_view address) {
  if (const size_t scheme = address.find("://"); scheme != std::string_view::npos) address.remove_prefix(scheme + 3);
  return lower(address.substr(0, address.find('/')));
}

// Without the port.
std::string domain_of(const std::string& url) {
  const std::string host = host_of(url);
  return host.substr(0, host.find(':'));
}

}  // namespace

Challenge parse_challenge(std::string_view header) {
  Challenge challenge;
  const size_t space = std::min(header.find(' '), header.size());
  challenge.scheme = lower(header.substr(0, space));
  header.remove_prefix(space);
  while (!header.empty()) {
    header.remove_prefix(std::min(header.find_first_not_of(" ,\t"), header.size()));
    const size_t equals = header.find('=');
    if (equals == std::string_view::npos) break;
    const std::string key = lower(header.substr(0, equals));
    header.remove_prefix(equals + 1);
    const bool quoted = header.starts_with('"');
    if (quoted) header.remove_prefix(1);
    const size_t end = std::min(header.find_first_of(quoted ? "\"" : ", "), header.size());
    const std::string value(header.substr(0, end));
    header.remove_prefix(std::min(end + 1, header.size()));
    if (key == "realm") challenge.realm = value;
    if (key == "service") challenge.service = value;
    if (key == "scope") challenge.scope = value;
  }
  return challenge;
}

Result<std::string> login_in(std::string_view docker_config, std::string_view host) {
  CARAT_TRY(const Json json, parse_json(docker_config, "config.json"));
  const std::string wanted = host_of(host);
  if (const Json* logins = json_find(json, "auths"); logins != nullptr && logins->is_object()) {
    for (const auto& [address, login] : logins->items()) {
      if (host_of(address) != wanted) continue;
      std::string text = json_text(login, "auth");
      if (text.empty() && !json_text(login, "username").empty()) {
        text = base64(json_text(login, "username") + ":" + json_text(login, "password"));
      }
      const auto plain = from_base64(text);
      if (plain && plain->find(':') != std::string::npos) return "Basic " + base64(*plain);  // in one line
    }
  }
  const Json* helpers = json_find(json, "credHelpers");
  std::string helper = helpers == nullptr ? "" : json_text(*helpers, wanted.c_str());
  if (helper.empty()) helper = json_text(json, "credsStore");
  if (helper.empty()) return std::string();
  return Error{ErrorCode::kUnsupported,
               fmt::format("Docker's logins are kept by docker-credential-{}, which Carat does not "
                           "run: `podman login` or a Docker without it writes them to a file",
                           escaped(helper))};
}

RegistryLogin find_login(const std::string& base_url, bool is_ollamas) {
  RegistryLogin login;
  const std::string host = host_of(base_url);
  login.advice = fmt::format("`docker login {}` or `podman login {}` makes one that Carat uses", host, host);
  for (const auto& path : registry_login_files()) {
    const auto text = read_file(path, kMaxConfigBytes);
    if (!text.ok()) continue;
    auto found = login_in(*text, host);
    if (!found.ok()) {
      login.advice = found.error().message;
    } else if (!found->empty()) {
      login.basic = std::move(*found);
      break;
    }
  }
  if (is_ollamas) {
    login.ollama_key = ollama_key_file().string();
    login.advice = fmt::format("`ollama signin` makes {} known there, and Carat signs with it", login.ollama_key);
  }
  return login;
}

bool may_give_tokens(const std::string& registry_url, const std::string& realm_url) {
  const std::string registry = origin_of(registry_url), realm = origin_of(realm_url);
  if (realm.empty()) return false;
  if (registry == realm) return true;
  const std::string domain = domain_of(realm);
  return realm.starts_with("https:") && registry.starts_with("https:") && domain.find('.') != std::string::npos &&
         domain.find_first_not_of("0123456789.") != std::string::npos && domain_of(registry).ends_with("." + domain);
}

}  // namespace carat
