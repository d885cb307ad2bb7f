// decode_row for models of the 1B's shape and of the usual types.
#include "backend/cuda/device/decode_row.cuh"

namespace carat::cuda {

#define CARAT_DECODE(name, types)                                                                                      \
  CARAT_KERNEL(decode_near_1b_##name, DecodeParams, kDecodeThreads, 1) {                                               \
    decode_one_row<types, 1, KeysSeen::kNear>(p);                                                                      \
  }                                                                                                                    \
  CARAT_KERNEL(decode_row_1b_##name, DecodeParams, kDecodeThreads, 1) { decode_one_row<types, 1, KeysSeen::kFew>(p); } \
  CARAT_KERNEL(decode_deep_1b_##name, DecodeParams, kDecodeThreads, 1) { decode_one_row<types, 1, KeysSeen::kAny>(p); }
CARAT_DECODE(Q4_0, type_bit(TileType::kQ4_0))
CARAT_DECODE(Q8_0, type_bit(TileType::kQ8_0))
CARAT_DECODE(BF16, type_bit(TileType::kBF16))
CARAT_DECODE(mixed, kTypesOfQ4KM)
#undef CARAT_DECODE

}  // namespace carat::cuda
