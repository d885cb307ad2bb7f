// Bits that nobody can guess, from the kernel: for seeds that nobody gave, and for ids.
#pragma once

#include <cstdint>

namespace carat {

uint64_t unguessable_bits();

}  // namespace carat
