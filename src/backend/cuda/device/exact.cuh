// Where activations lie in the tiles of exact_params.h.
#pragma once

#include "backend/cuda/device/base.cuh"
#include "backend/cuda/exact_params.h"

namespace carat::cuda {

CARAT_DEVICE uint8_t* exact_tile(const Rounded& x, int chunk, int row) {
  return x.planes + (static_cast<int64_t>(chunk) * exact_row_tiles(x.rows16) + row / kExactRows) * kExactTileBytes;
}
// Column `column` of block `block` of the chunk, in bytes; the low plane is kExactPlane further.
CARAT_DEVICE int exact_at(int row, int block, int column) {
  const int core = block % 2 * 4 + column / 16 * 2 + column % 2, place = column % 16 / 4 * 2 + column % 4 / 2;
  return block / 2 * (2 * kExactPlane) + row / 8 * 1024 + core * 128 + row % 8 * 16 + place * 2;
}
CARAT_DEVICE float* exact_scale(uint8_t* tile, int block, int row) {
  return reinterpret_cast<float*>(tile + kExactScales) + block * kExactRows + row;
}
CARAT_DEVICE float* exact_sum(uint8_t* tile, int block, int half, int row) {
  return reinterpret_cast<float*>(tile + kExactSumsAt) + (block * 2 + half) * kExactRows + row;
}

}  // namespace carat::cuda
