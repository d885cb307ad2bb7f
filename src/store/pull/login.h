// Who we are to a registry that asks. Nothing is asked for and nothing is kept: what `docker login` (or podman's) wrote is
// used for the registry that it was written for, and Ollama's key for Ollama's own.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace carat {

struct RegistryLogin {
  std::string basic;       // "Basic <base64 of user:password>"; may be empty
  std::string ollama_key;  // the file of Ollama's key; empty: not for this registry
  std::string advice;      // how one gets a login here, for an error
};

// `base_url`: the registry's. Files that cannot be read are as none.
RegistryLogin find_login(const std::string& base_url, bool is_ollamas);

// Of a Docker configuration, the login for this host (with its port, where it has one). Error: kUnsupported (it is kept by
// a program, which Carat does not run); empty: there is none.
Result<std::string> login_in(std::string_view docker_config, std::string_view host);

// Whether what is for this registry may be sent to where it says that tokens are given out: itself, or over TLS the domain
// that it belongs to (gitlab.com for registry.gitlab.com).
bool may_give_tokens(const std::string& registry_url, const std::string& realm_url);

// What a 401 asks for: `Bearer realm="...",service="...",scope="..."`.
struct Challenge {
  std::string scheme;  // "bearer", "basic", in lower case
  std::string realm, service, scope;
};
Challenge parse_challenge(std::string_view header);

}  // namespace carat
