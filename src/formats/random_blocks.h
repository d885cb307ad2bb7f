// Random weights of any tensor type, made as blocks directly: as fast as random bytes, and much faster than quantising.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/dtype.h"

namespace carat {

// Fills whole blocks so that the decoded elements have a mean near 0 and a standard deviation near `deviation` (within
// 15%: scales vary from block to block). The same seed gives the same bytes on every machine.
void random_blocks(DType type, float deviation, uint64_t seed, std::span<std::byte> out);

}  // namespace carat
