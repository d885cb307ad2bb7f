// The naive reference forward behind the step boundary: what paged and batched tests of other backends compare with.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace carat {

// Reads the mapped weights at every step (a second a token on the 270M), so their maps must outlive it. It follows the
// page tables of a Step to the letter, and its unwritten KV is NaN, so that a wrong table shows.
std::unique_ptr<Backend> create_reference_backend(const ModelConfig& config, const Weights& weights);

MemoryNeed reference_memory_need(const ModelConfig& config, const Weights& weights, int32_t max_rows);

}  // namespace carat
