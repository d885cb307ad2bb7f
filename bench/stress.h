// A backend under mixed work for a long time: every answer must have the bits that it had the first time.
#pragma once

#include "backend/backend.h"

namespace carat {

// Runs until `seconds` have passed, printing now and then. Prompts come in steps of 2,048 rows or, where that is more and in turns
// with them, of `long_rows`. `invariant`: those have the same bits. False: something differed, or failed.
bool stress(Backend& backend, const ModelConfig& config, int32_t long_rows, bool invariant, double seconds);

}  // namespace carat
