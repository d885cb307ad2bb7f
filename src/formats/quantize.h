// Floats into every tensor type. The inverse of dequant.h as far as there is one: which scale is best is a choice, the
// meaning of the blocks is not.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/dtype.h"

namespace carat {

// `in`: `elements` finite floats, whole blocks of `type`, |x| <= 65504. `out`: dtype_bytes(type, elements) bytes, of
// any alignment. Deterministic. The types of 32 take their scale from the extremes of the block; the K types search for
// each sub-block's scale (and minimum) of least squared error; IQ4 types take the nearest point of their grid.
void quantize(DType type, const float* in, std::byte* out, int64_t elements);

}  // namespace carat
