// Whether weights are finite, read from the stored bits: of a quantised block only its scales can be NaN or infinity, so
// the check costs a few bytes of each block, on any backend's way to its own layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/dtype.h"

namespace carat {

// The first of these rows, of whole blocks, that holds a scale or an element that is not finite; -1 if there is none.
int64_t first_row_not_finite(const TensorView& tensor, int64_t begin, int64_t end);

}  // namespace carat
