// The exact product of a quantised matrix with many rows on warpgroups (exact_gemm.cu): what lies where.
//   Activations are two halves each, 128 * high and low, which tensor cores multiply with small integers and add exactly in float32. Tiles of 72 rows x 128
// columns, one piece of memory each:
//   [chunk][rows / 72]: halves [2 of 64 columns][128 high, low][9 of 8 rows][8 cores][8 rows][8 columns], scales [4 blocks][72], sums [4 blocks][2 of 16 columns][72]
// Columns 4 t + i of 16 lie at 2 t + i / 2 + 8 (i % 2), as a lane has weights from one word of a tile.
#pragma once

#include "backend/cuda/params.h"

namespace carat::cuda {

inline constexpr int kExactRows = 72, kExactRowGroups = kExactRows / 8;
inline constexpr int kExactGroups = 16;                     // of 8 outputs, of a block: 64 for each of two warpgroups
inline constexpr int kExactPlane = kExactRowGroups * 1024;  // bytes
inline constexpr int kExactScales = 4 * kExactPlane;        // where they begin
inline constexpr int kExactSumsAt = kExactScales + 4 * kExactRows * 4;
inline constexpr int kExactTileBytes = kExactSumsAt + 8 * kExactRows * 4;
inline constexpr int kExactThreads = 384;  // eight warps that multiply, four that copy
inline constexpr int kExactGatedBytes =
    2 * (2 * kExactRowGroups * 512 + 9 * kExactRows * 4);  // where gated results are put together
inline constexpr int64_t kLeastExactRows = 256;            // more go this way

constexpr int exact_row_tiles(int rows16) { return (rows16 + kExactRows - 1) / kExactRows; }

// Bytes of a stage in shared memory: 128 columns.
constexpr int exact_x_bytes(TileType type) { return tile_format(type).min ? kExactTileBytes : kExactSumsAt; }
constexpr int exact_stage_bytes(TileType type) {
  return exact_x_bytes(type) + kExactGroups * tile_format(type).tile_bytes();
}
constexpr int exact_stages(TileType type) {
  const int fit = (226 * 1024 - kExactGatedBytes) / exact_stage_bytes(type);
  return fit < 4 ? fit : 4;
}
constexpr int exact_shared_bytes(TileType type) {
  return exact_stages(type) * exact_stage_bytes(type) + kExactGatedBytes + 128;
}

struct ExactParams {
  TileMatrix matrix;
  Rounded x;
  float* out;  // as ProductParams has it
  int32_t out_stride;
  int32_t group_step, group_first;
  int32_t rows;
  int32_t row_tiles, output_tiles;
  int32_t sums;   // whether the next product needs sums
  Rounded gated;  // exact_gated_*: gelu of the even groups times the odd ones, as the next product's input
};

// close_rows and round_rows where there are many rows (many_rows.cu): `sums`: whether sums are wanted.
inline constexpr int kManyThreads = 256;
inline constexpr int many_bytes(int chunks) { return chunks * 32 * 144; }
struct ManyCloseParams {
  CloseParams close;
  int32_t rows, sums;
};
struct ManyRoundParams {
  RoundParams round;
  int32_t rows, sums;
};
// prepare_heads, where heads have kOneHead columns.
struct ManyHeadsParams {
  HeadsParams heads;
  int32_t rows;
};

// dense_TYPE: a matrix's tiles as those of BF16.
inline constexpr int kDenseThreads = 256;
struct DenseParams {
  TileMatrix matrix;
  uint8_t* to;
};

// attend_wide_*: queries of so many pieces, keys and values of a page for each of two warpgroups; heads of 256.
inline constexpr int kAttendWideThreads = 384;
constexpr int attend_wide_bytes(int pieces) {
  return pieces * kFastQueries * 512 + 4 * kKeysPerPage * 512 + 128 + 2048;
}

// Those that are no exact_gemm_TYPE or exact_gated_TYPE.
#define CARAT_CUDA_MANY_KERNELS(X)  \
  X(close_many_10, ManyCloseParams) \
  X(close_many_20, ManyCloseParams) \
  X(round_many_10, ManyRoundParams) \
  X(round_many_20, ManyRoundParams) \
  X(prepare_many, ManyHeadsParams)  \
  X(attend_wide_1, AttentionParams) \
  X(attend_wide_2, AttentionParams)

}  // namespace carat::cuda
