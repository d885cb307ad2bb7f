// A backend under mixed work for a long time: every answer must have the bits that it had the first time.
#pragma once

#include "backend/backend.h"

namespace carat {

// Runs until `seconds` have passed, printing now and then. False: something differed, or failed.
bool stress(Backend& backend, const ModelConfig& config, double seconds);

}  // namespace carat
