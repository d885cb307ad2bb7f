// A registry that speaks Docker's protocol as Ollama does: GET /v2/<namespace>/<model>/manifests/<tag>, then the blobs;
// as a guest, with a guest's token if the registry asks for one, and with a login (login.h) only where it does not let guests
// in. Ollama's own, a mirror of it, another Carat (`serve --share`), anybody's.
#pragma once

#include <string>

#include "base/result.h"
#include "store/image_manifest.h"
#include "store/model_name.h"
#include "store/pull/download.h"
#include "store/pull/http.h"
#include "store/pull/login.h"
#include "store/pull/observer.h"

namespace carat {

class Registry {
 public:
  // `base_url`: "https://registry.ollama.ai", without a '/' at its end. `name`: of Ollama's own registry, or a mirror of it, if
  // it has the default host.
  Registry(HttpClient& http, std::string base_url, const ModelName& name, PullObserver& observer);

  const std::string& base_url() const { return base_url_; }

  // The manifest's bytes. Errors: kNotFound (it has no such model), kNetwork, kUnsupported (it wants another login).
  Result<std::string> manifest();
  DownloadSource blob(const Digest& digest);

  // One request with the token dance; `path` begins after /v2/<namespace>/<model>/, or is a whole URL.
  Result<HttpAnswer> ask(HttpRequest request, const std::string& path);
  // An error for an answer of 401 or 403 to `what`, with what to do about it.
  Error refused(int status, std::string_view what) const;

 private:
  // The authorization that answers a 401.
  Result<std::string> authorization_for(const HttpHead& head);
  Result<std::string> token_from_realm(const std::string& basic);
  std::function<bool()> stop() const;

  HttpClient& http_;
  std::string base_url_;
  std::string repository_;  // "library/gemma3"
  std::string tag_;
  std::string what_;  // for people
  PullObserver& observer_;
  RegistryLogin login_;
  std::string authorization_;
  Challenge challenge_;  // the last one
  bool is_guest_ = true;
  bool guest_had_token_ = false;
};

}  // namespace carat
