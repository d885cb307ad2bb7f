// decode_row for models of the 1B's shape all of whose matrices are of one type, the usual ones.
#include "backend/cuda/device/decode_row.cuh"

namespace carat::cuda {

#define CARAT_DECODE(name)                                               \
  CARAT_KERNEL(decode_row_1b_##name, DecodeParams, kDecodeThreads, 1) {  \
    decode_one_row<static_cast<int>(TileType::k##name), 1, false>(p);    \
  }                                                                      \
  CARAT_KERNEL(decode_deep_1b_##name, DecodeParams, kDecodeThreads, 1) { \
    decode_one_row<static_cast<int>(TileType::k##name), 1, true>(p);     \
  }
CARAT_DECODE(Q4_0)
CARAT_DECODE(Q8_0)
CARAT_DECODE(BF16)
#undef CARAT_DECODE

}  // namespace carat::cuda
