// What every tensor type means: the plain scalar decoder that all kernels are tested against.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/dtype.h"

namespace carat {

// Writes `elements` floats, which must be whole blocks of `type`. `blocks` needs no alignment. The float operations and
// their order are those of ggml's dequantize_row_* (each product and sum rounded to float32 once, none fused).
void dequantize(DType type, const std::byte* blocks, float* out, int64_t elements);

}  // namespace carat
