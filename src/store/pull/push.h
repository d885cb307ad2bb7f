// A model of this store to a registry that takes it: the blobs that it does not have yet, then the manifest.
#pragma once

#include "base/result.h"
#include "store/pull/pull.h"

namespace carat {

// `name` is also where it goes: "192.168.1.5:5000/me/gemma:tag". Errors: kNotFound (no such model here), kUnsupported
// (the registry wants a login), kNetwork, kCancelled.
Status push(const Store& store, const ModelName& name, PullObserver& observer, const PullOptions& options = {});

}  // namespace carat
