// decode_row for models of any types.
#include "backend/cuda/device/decode_row.cuh"

namespace carat::cuda {

CARAT_KERNEL(decode_row, DecodeParams, kDecodeThreads, 1) { decode_one_row<kAllTypes, 0, KeysSeen::kAny>(p); }

// Of the 1B's shape.
CARAT_KERNEL(decode_row_1b, DecodeParams, kDecodeThreads, 1) { decode_one_row<kAllTypes, 1, KeysSeen::kAny>(p); }

}  // namespace carat::cuda
