// Quantised weights as BF16, for products of many rows with Precision::kFast: tiles of one type to tiles of the other (tile_format.h), a warp for each.
#include "backend/cuda/device/tiles.cuh"
#include "backend/cuda/exact_params.h"

namespace carat::cuda {

template <TileType kType>
CARAT_DEVICE void dense_tile(const DenseParams& p) {
  constexpr TileFormat kFormat = tile_format(kType);
  constexpr bool kSigned = kFormat.bits == 8 || kFormat.table;
  next_may_begin();
  previous_wait();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * (kDenseThreads / 32) + warp_index();
  if (at >= static_cast<int64_t>(p.matrix.groups) * p.matrix.chunks) return;
  const uint8_t* tile = p.matrix.data + at * kFormat.tile_bytes();
  const int block = lane_index() / 8, r = lane_index() % 8;
  const TileScales s = tile_scales<kType>(tile, block, r);
  uint32_t words[16];  // of two columns each
  CARAT_UNROLL for (int j = 0; j < 4; ++j) {
    const Words2 of = tile_words<kType>(tile, block, r, j);
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      const uint32_t bytes = half == 0 ? of.low : of.high;
      const int sub = kFormat.subs == 2 ? half : 0;
      float value[4];
      CARAT_UNROLL for (int i = 0; i < 4; ++i) {
        const uint32_t byte = (bytes >> (8 * i)) & 255;
        const int integer = (kSigned ? static_cast<int>(static_cast<int8_t>(byte)) : static_cast<int>(byte)) - kFormat.offset;
        value[i] = kFormat.min ? fma_rn(static_cast<float>(integer), s.scale[sub], s.min[sub]) : static_cast<float>(integer) * s.scale[sub];
      }
      words[half * 8 + 2 * j] = pack_bf16(value[0], value[1]);
      words[half * 8 + 2 * j + 1] = pack_bf16(value[2], value[3]);
    }
  }
  auto* to = reinterpret_cast<Words4*>(p.to + at * (kTileRows * kTileColumns * 2) + (block * 32 + r) * 16);
  CARAT_UNROLL for (int core = 0; core < 4; ++core) {
    to[core * kTileRows] = {words[4 * core], words[4 * core + 1], words[4 * core + 2], words[4 * core + 3]};
  }
}

#define CARAT_DENSE(name) \
  CARAT_KERNEL(dense_##name, DenseParams, kDenseThreads, 2) { dense_tile<TileType::k##name>(p); }
CARAT_CUDA_QUANTISED_TYPES(CARAT_DENSE)
#undef CARAT_DENSE

}  // namespace carat::cuda
