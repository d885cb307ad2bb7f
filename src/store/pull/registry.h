// A registry that speaks Docker's protocol as Ollama does: GET /v2/<namespace>/<model>/manifests/<tag>, then the blobs;
// anonymous, with a token if the registry asks for one. Ollama's own, a mirror of it, another Carat (`serve --share`).
#pragma once

#include <string>

#include "base/result.h"
#include "store/image_manifest.h"
#include "store/model_name.h"
#include "store/pull/download.h"
#include "store/pull/http.h"
#include "store/pull/observer.h"

namespace carat {

class Registry {
 public:
  // `base_url`: "https://registry.ollama.ai", without a '/' at its end.
  Registry(HttpClient& http, std::string base_url, const ModelName& name, PullObserver& observer);

  const std::string& base_url() const { return base_url_; }

  // The manifest's bytes. Errors: kNotFound (it has no such model), kNetwork, kUnsupported (it wants a login).
  Result<std::string> manifest();
  DownloadSource blob(const Digest& digest);

  // One request with the token dance; `path` begins after /v2/<namespace>/<model>/, or is a whole URL.
  Result<HttpAnswer> ask(HttpRequest request, const std::string& path);
  const std::string& authorization() const { return authorization_; }

 private:
  Result<std::string> token_for(const HttpHead& head);
  std::function<bool()> stop() const;

  HttpClient& http_;
  std::string base_url_;
  std::string repository_;  // "library/gemma3"
  std::string tag_;
  std::string what_;  // for people
  PullObserver& observer_;
  std::string authorization_;
};

}  // namespace carat
