// A matrix of 16- or 32-bit floats times many rows: 128 rows x 128 outputs a block of four warps of 64 x 64, half a chunk of
// columns at a time. Activations are two pieces of bf16, weights as they are (BF16) or two pieces; float accumulators run
// over all columns.
#include "backend/cuda/device/gemm.cuh"

namespace carat::cuda {

template <TileType kType>
CARAT_DEVICE void gemm_floats(const ProductParams& p) {
  constexpr int kHalfTile = tile_format(kType).tile_bytes() / 2;
  constexpr int kSteps = 4;  // of 16 columns
  constexpr int kWeights = kFloatTiles * kSteps * 1024;
  constexpr int kStage = kWeights + kFloatGroups * kHalfTile;
  static_assert(kStage == gemm_stage_bytes(kType), "as the host counts");
  uint8_t* shared = shared_memory();
  auto* arrivals = reinterpret_cast<uint64_t*>(shared + 2 * kStage);
  const int lane = lane_index(), warp = warp_index();
  const int first_group = static_cast<int>(blockIdx.x) * kFloatGroups;
  const int first_tile = static_cast<int>(blockIdx.y) * kFloatTiles;
  const int halves = 2 * p.matrix.chunks;
  const Rounded& x = p.x;
  const int tiles = least(kFloatTiles, x.rows16 / 16 - first_tile);

  GemmPiece piece;
  if (lane < kFloatGroups) {
    const int group = least(first_group + lane, p.matrix.groups - 1);
    piece = {p.matrix.data + static_cast<int64_t>(group) * halves * kHalfTile, kHalfTile, kWeights + lane * kHalfTile, kHalfTile};
  } else if (lane < kFloatGroups + tiles) {
    const int m = lane - kFloatGroups;
    piece = {x.pieces + (first_tile + m) * 8192, 0, m * kSteps * 1024, kSteps * 1024};
  }
  const int all_bytes = tiles * kSteps * 1024 + kFloatGroups * kHalfTile;
  const auto fetch = [&](int at) {
    piece.fetch(shared + (at & 1) * kStage, arrivals + (at & 1), kFloatGroups + kFloatTiles, all_bytes);
    // Activations come in whole chunks: the second half lies behind the first.
    if (lane >= kFloatGroups) piece.from += (at & 1) == 0 ? kSteps * 1024 : static_cast<int64_t>(x.rows16) * 512 - kSteps * 1024;
  };
  gemm_begin(arrivals);

  const int g = lane >> 2, t = lane & 3;
  const int first_m = warp % 2 * 4, first_n = warp / 2 * 8;
  float acc[4][8][4];
  CARAT_UNROLL for (int m = 0; m < 4; ++m) {
    CARAT_UNROLL for (int n = 0; n < 8; ++n) {
      CARAT_UNROLL for (int e = 0; e < 4; ++e) acc[m][n][e] = 0.0f;
    }
  }
  fetch(0);
  for (int at = 0; at < halves; ++at) {
    const uint8_t* stage = shared + (at & 1) * kStage;
    gemm_wait(arrivals + (at & 1), (at >> 1) & 1);
    block_barrier();
    if (at + 1 < halves) fetch(at + 1);
    CARAT_UNROLL_1 for (int step = 0; step < kSteps; ++step) {
      uint32_t high[4][4], low[4][4];
      CARAT_UNROLL for (int m = 0; m < 4; ++m) {
        const uint8_t* from = stage + (first_m + m) * kSteps * 1024 + step * 1024 + lane * 16;
        const Words4 h = load<Words4>(from), v = load<Words4>(from + 512);
        high[m][0] = h.x, high[m][1] = h.y, high[m][2] = h.z, high[m][3] = h.w;
        low[m][0] = v.x, low[m][1] = v.y, low[m][2] = v.z, low[m][3] = v.w;
      }
      CARAT_UNROLL for (int n = 0; n < 8; ++n) {
        uint32_t w[2], rest[2];
        bf16_weights<kType>(stage + kWeights + (first_n + n) * kHalfTile, step, g, t, w, rest);
        CARAT_UNROLL for (int m = 0; m < 4; ++m) {
          mma_bf16(acc[m][n], high[m], w[0], w[1]);
          mma_bf16(acc[m][n], low[m], w[0], w[1]);
          if constexpr (kType != TileType::kBF16) {
            mma_bf16(acc[m][n], high[m], rest[0], rest[1]);
            mma_bf16(acc[m][n], low[m], rest[0], rest[1]);
          }
        }
      }
    }
  }
  const auto store = [&](bool whole) {
    CARAT_UNROLL for (int m = 0; m < 4; ++m) {
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        const int row = (first_tile + first_m + m) * 16 + half * 8 + g;
        CARAT_UNROLL for (int n = 0; n < 8; ++n) {
          gemm_store(p, whole, row, first_group + first_n + n, t, acc[m][n][2 * half], acc[m][n][2 * half + 1]);
        }
      }
    }
  };
  if (gemm_whole(p, first_tile, kFloatTiles, first_group, kFloatGroups)) {
    store(true);
  } else {
    store(false);
  }
}
CARAT_KERNEL(gemm_F32, ProductParams, kFloatThreads, 1) { gemm_floats<TileType::kF32>(p); }
CARAT_KERNEL(gemm_F16, ProductParams, kFloatThreads, 2) { gemm_floats<TileType::kF16>(p); }
CARAT_KERNEL(gemm_BF16, ProductParams, kFloatThreads, 2) { gemm_floats<TileType::kBF16>(p); }

}  // namespace carat::cuda
