// Where models come from; pull.cc has the order.
#pragma once

#include <string>

#include "base/result.h"
#include "store/pull/pull.h"

namespace carat {

Status pull_registry(const Store& store, const ModelName& name, const std::string& base_url, PullObserver& observer,
                     const PullOptions& options);

// `org/repo` at a revision (the tag), or one GGUF file of it (the tag is its quantisation).
Status pull_huggingface(const Store& store, const ModelName& name, PullObserver& observer, const PullOptions& options);

}  // namespace carat
