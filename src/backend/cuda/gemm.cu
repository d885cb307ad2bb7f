// A matrix times many rows: 64 rows (32 of wider types) x 64 outputs a block, chunk after chunk of 128 columns through shared memory while the
// next one is on its way. A chunk of weights is expanded once to bytes and float scales, whatever its type, and multiplied
// with every row by mma.m16n8k32; a chunk is a segment of the definition, so its chain of fma lives and dies in registers.
#include "backend/cuda/device/product.cuh"

namespace carat::cuda {

inline constexpr int kGemmGroups = 8;  // of 8 outputs
inline constexpr int kGemmTiles = 4;   // of 16 rows, of the float kernels
inline constexpr int kGemmRows = 16 * kGemmTiles;

// Offsets into shared memory.
struct GemmLayout {
  int fragments, scales, sums, weights, stage, expanded, w_scales, w_mins;
};
CARAT_DEVICE GemmLayout gemm_layout(int tiles, int tile_bytes, int subs) {
  GemmLayout l{};
  l.fragments = 0;
  l.scales = tiles * 4096;
  l.sums = l.scales + tiles * 16 * 16;
  l.weights = l.sums + tiles * 16 * 32;
  l.stage = l.weights + kGemmGroups * tile_bytes;
  l.expanded = 2 * l.stage;
  l.w_scales = l.expanded + kGemmGroups * 1024;
  l.w_mins = l.w_scales + kGemmGroups * 8 * 4 * 4 * subs;
  return l;
}

// Bytes of every integer of the stage's tiles as B fragments [group][block][half][32 lanes][4], scales [block][sub][64].
struct ExpandTiles {
  const uint8_t* tiles;
  uint32_t* bytes;
  float *scales, *mins;

  template <TileType kType>
  CARAT_METHOD void run() const {
    constexpr TileFormat kFormat = tile_format(kType);
    if constexpr (kFormat.quantised()) {
      const int threads = block_threads();
      for (int i = thread_index(); i < kGemmGroups * 128; i += threads) {
        const int group = i / 128, at = i % 128;  // at: block, row, word
        const Words2 w = tile_words<kType>(tiles + group * kFormat.tile_bytes(), at / 32, at / 4 % 8, at % 4);
        uint32_t* to = bytes + (group * 4 + at / 32) * 64 + at % 32;
        to[0] = w.low;
        to[32] = w.high;
      }
      for (int i = thread_index(); i < kGemmGroups * 32; i += threads) {
        const int output = i % 64, b = i / 64;
        const TileScales s = tile_scales<kType>(tiles + output / 8 * kFormat.tile_bytes(), b, output % 8);
        CARAT_UNROLL for (int sub = 0; sub < kFormat.subs; ++sub) {
          scales[(b * kFormat.subs + sub) * 64 + output] = s.scale[sub];
          if constexpr (kFormat.min) mins[(b * kFormat.subs + sub) * 64 + output] = s.min[sub];
        }
      }
    }
  }
};

// kSubs: scales of a block; kMin: with minima; kTiles: of 16 rows, as many as registers hold.
template <int kSubs, bool kMin, int kTiles>
CARAT_DEVICE void gemm(const ProductParams& p) {
  uint8_t* shared = shared_memory();
  const TileFormat format = tile_format(p.matrix.type);
  const int tile_bytes = format.tile_bytes();
  const GemmLayout l = gemm_layout(kTiles, tile_bytes, kSubs);
  const int threads = block_threads(), thread = thread_index(), lane = lane_index(), warp = warp_index();
  const int first_group = static_cast<int>(blockIdx.x) * kGemmGroups;
  const int first_row = static_cast<int>(blockIdx.y) * kTiles * 16;
  const int chunks = p.matrix.chunks;
  const Rounded& x = p.x;

  const auto fetch = [&](int chunk, int stage) {
    uint8_t* to = shared + stage * l.stage;
    for (int i = thread; i < kTiles * 256; i += threads) {
      const int m = least(first_row / 16 + i / 256, x.rows16 / 16 - 1);
      const int64_t fragment = static_cast<int64_t>(chunk) * (x.rows16 / 16) + m;
      copy_async_16(to + l.fragments + i * 16, x.planes + fragment * 4096 + i % 256 * 16);
    }
    for (int i = thread; i < kTiles * 16; i += threads) {
      const int64_t row = static_cast<int64_t>(chunk) * x.rows16 + least(first_row + i, x.rows16 - 1);
      copy_async_16(to + l.scales + i * 16, x.scales + row * 4);
      copy_async_16(to + l.sums + i * 32, x.sums + row * 8);
      copy_async_16(to + l.sums + i * 32 + 16, x.sums + row * 8 + 4);
    }
    const int words = tile_bytes / 16;
    for (int group = 0; group < kGemmGroups; ++group) {
      const uint8_t* tile = p.matrix.data + (static_cast<int64_t>(least(first_group + group, p.matrix.groups - 1)) * chunks + chunk) * tile_bytes;
      for (int i = thread; i < words; i += threads) copy_async_16(to + l.weights + group * tile_bytes + i * 16, tile + i * 16);
    }
    copy_async_commit();
  };

  const int g = lane >> 2, t = lane & 3;
  float total[kTiles][4][4];  // tile of rows, group of this warp, element
  CARAT_UNROLL for (int m = 0; m < kTiles; ++m) {
    CARAT_UNROLL for (int n = 0; n < 4; ++n) {
      CARAT_UNROLL for (int e = 0; e < 4; ++e) total[m][n][e] = 0.0f;
    }
  }
  fetch(0, 0);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const uint8_t* stage = shared + (chunk & 1) * l.stage;
    copy_async_wait<0>();
    block_barrier();  // this chunk is there, and nobody reads the one before
    if (chunk + 1 < chunks) fetch(chunk + 1, (chunk + 1) & 1);
    auto* bytes = reinterpret_cast<uint32_t*>(shared + l.expanded);
    auto* scales = reinterpret_cast<float*>(shared + l.w_scales);
    auto* mins = reinterpret_cast<float*>(shared + l.w_mins);
    for_type(p.matrix.type, ExpandTiles{stage + l.weights, bytes, scales, mins});
    block_barrier();

    constexpr bool kHold = kSubs == 1 && !kMin;  // the warp's weights of the chunk stay in registers
    uint32_t w[kHold ? 4 : 1][4][2];
    float ws[kHold ? 4 : 1][4][2];
    if constexpr (kHold) {
      CARAT_UNROLL for (int n = 0; n < 4; ++n) {
        const int group = warp * 4 + n;
        CARAT_UNROLL for (int b = 0; b < 4; ++b) {
          w[n][b][0] = bytes[(group * 4 + b) * 64 + lane];
          w[n][b][1] = bytes[(group * 4 + b) * 64 + 32 + lane];
          ws[n][b][0] = scales[b * 64 + group * 8 + 2 * t];
          ws[n][b][1] = scales[b * 64 + group * 8 + 2 * t + 1];
        }
      }
    }
    CARAT_UNROLL for (int m = 0; m < kTiles; ++m) {
      uint32_t high[4][4], low[4][4];
      float xs[2][4];
      int sums[2][4][kSubs];
      CARAT_UNROLL for (int b = 0; b < 4; ++b) {
        const Words4 h = load<Words4>(stage + l.fragments + m * 4096 + b * 512 + lane * 16);
        const Words4 v = load<Words4>(stage + l.fragments + m * 4096 + 2048 + b * 512 + lane * 16);
        high[b][0] = h.x, high[b][1] = h.y, high[b][2] = h.z, high[b][3] = h.w;
        low[b][0] = v.x, low[b][1] = v.y, low[b][2] = v.z, low[b][3] = v.w;
      }
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        const int row = m * 16 + half * 8 + g;
        const auto* x_scales = reinterpret_cast<const float*>(stage + l.scales) + row * 4;
        const auto* x_sums = reinterpret_cast<const int32_t*>(stage + l.sums) + row * 8;
        CARAT_UNROLL for (int b = 0; b < 4; ++b) {
          xs[half][b] = x_scales[b];
          if constexpr (kSubs == 1) {
            sums[half][b][0] = x_sums[2 * b] + x_sums[2 * b + 1];
          } else {
            sums[half][b][0] = x_sums[2 * b];
            sums[half][b][1] = x_sums[2 * b + 1];
          }
        }
      }
      CARAT_UNROLL for (int n = 0; n < 4; ++n) {
        const int group = warp * 4 + n;
        float acc[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        CARAT_UNROLL for (int b = 0; b < 4; ++b) {
          uint32_t w0, w1;
          if constexpr (kHold) {
            w0 = w[n][b][0];
            w1 = w[n][b][1];
          } else {
            w0 = bytes[(group * 4 + b) * 64 + lane];
            w1 = bytes[(group * 4 + b) * 64 + 32 + lane];
          }
          int d[kSubs][4];
          CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
            CARAT_UNROLL for (int e = 0; e < 4; ++e) d[sub][e] = 0;
          }
          if constexpr (kSubs == 1) {
            mma_k32(d[0], high[b], w0, w1);
          } else {
            mma_k16(d[0], high[b][0], high[b][1], w0);
            mma_k16(d[1], high[b][2], high[b][3], w1);
          }
          CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
            CARAT_UNROLL for (int e = 0; e < 4; ++e) d[sub][e] = d[sub][e] * 128 - format.offset * sums[e / 2][b][sub];
          }
          if constexpr (kSubs == 1) {
            mma_k32(d[0], low[b], w0, w1);
          } else {
            mma_k16(d[0], low[b][0], low[b][1], w0);
            mma_k16(d[1], low[b][2], low[b][3], w1);
          }
          CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
            const int at = (b * kSubs + sub) * 64 + group * 8 + 2 * t;
            CARAT_UNROLL for (int e = 0; e < 4; ++e) {
              const float scale = kHold ? ws[kHold ? n : 0][b][e % 2] : scales[at + e % 2];
              acc[e] = fma_rn(static_cast<float>(d[sub][e]), scale * xs[e / 2][b], acc[e]);
              if constexpr (kMin) {
                acc[e] = fma_rn(static_cast<float>(sums[e / 2][b][sub]), mins[at + e % 2] * xs[e / 2][b], acc[e]);
              }
            }
          }
        }
        CARAT_UNROLL for (int e = 0; e < 4; ++e) total[m][n][e] = total[m][n][e] + acc[e];
        if constexpr (!kHold) keep_order();
      }
    }
  }
  CARAT_UNROLL for (int m = 0; m < kTiles; ++m) {
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      const int row = first_row + m * 16 + half * 8 + g;
      if (row >= p.rows) continue;
      const float factor = x.factors[row];
      CARAT_UNROLL for (int n = 0; n < 4; ++n) {
        const int group = first_group + warp * 4 + n;
        float* out = p.out + static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + 2 * t;
        CARAT_UNROLL for (int e = 0; e < 2; ++e) {
          if (group * kTileRows + 2 * t + e < p.matrix.rows) out[e] = factor * total[m][n][2 * half + e];
        }
      }
    }
  }
}

CARAT_KERNEL(gemm_plain, ProductParams, 64, 4) { gemm<1, false, 4>(p); }
CARAT_KERNEL(gemm_min, ProductParams, 64, 4) { gemm<1, true, 2>(p); }
CARAT_KERNEL(gemm_subs, ProductParams, 64, 4) { gemm<2, false, 2>(p); }
CARAT_KERNEL(gemm_subs_min, ProductParams, 64, 4) { gemm<2, true, 2>(p); }

// Float weights: activations in two pieces of bf16, weights as they are (BF16) or in two pieces; 64 x 64, four warps of
// 32 x 32, float accumulators over all columns.
template <TileType kType>
CARAT_DEVICE void gemm_floats(const ProductParams& p) {
  uint8_t* shared = shared_memory();
  constexpr int kTileBytes = tile_format(kType).tile_bytes();
  constexpr int kStage = kGemmTiles * 8192 + kGemmGroups * kTileBytes;
  const int threads = block_threads(), thread = thread_index(), lane = lane_index(), warp = warp_index();
  const int first_group = static_cast<int>(blockIdx.x) * kGemmGroups;
  const int first_row = static_cast<int>(blockIdx.y) * kGemmRows;
  const int chunks = p.matrix.chunks;
  const Rounded& x = p.x;
  const auto fetch = [&](int chunk, int stage) {
    uint8_t* to = shared + stage * kStage;
    for (int i = thread; i < kGemmTiles * 512; i += threads) {
      const int m = least(first_row / 16 + i / 512, x.rows16 / 16 - 1);
      const int64_t fragment = static_cast<int64_t>(chunk) * (x.rows16 / 16) + m;
      copy_async_16(to + i * 16, x.pieces + fragment * 8192 + i % 512 * 16);
    }
    for (int i = thread; i < kGemmGroups * kTileBytes / 16; i += threads) {
      const int group = least(first_group + i / (kTileBytes / 16), p.matrix.groups - 1);
      copy_async_16(to + kGemmTiles * 8192 + i * 16,
                    p.matrix.data + (static_cast<int64_t>(group) * chunks + chunk) * kTileBytes + i % (kTileBytes / 16) * 16);
    }
    copy_async_commit();
  };
  const int g = lane >> 2, t = lane & 3;
  const int first_m = warp % 2 * 2, first_n = warp / 2 * 4;
  float acc[2][4][4];
  CARAT_UNROLL for (int m = 0; m < 2; ++m) {
    CARAT_UNROLL for (int n = 0; n < 4; ++n) {
      CARAT_UNROLL for (int e = 0; e < 4; ++e) acc[m][n][e] = 0.0f;
    }
  }
  fetch(0, 0);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const uint8_t* stage = shared + (chunk & 1) * kStage;
    copy_async_wait<0>();
    block_barrier();
    if (chunk + 1 < chunks) fetch(chunk + 1, (chunk + 1) & 1);
    CARAT_UNROLL for (int step = 0; step < 8; ++step) {
      uint32_t high[2][4], low[2][4];
      CARAT_UNROLL for (int m = 0; m < 2; ++m) {
        const Words4 h = load<Words4>(stage + (first_m + m) * 8192 + step * 1024 + lane * 16);
        const Words4 v = load<Words4>(stage + (first_m + m) * 8192 + step * 1024 + 512 + lane * 16);
        high[m][0] = h.x, high[m][1] = h.y, high[m][2] = h.z, high[m][3] = h.w;
        low[m][0] = v.x, low[m][1] = v.y, low[m][2] = v.z, low[m][3] = v.w;
      }
      CARAT_UNROLL for (int n = 0; n < 4; ++n) {
        uint32_t w[2], rest[2];
        bf16_weights<kType>(stage + kGemmTiles * 8192 + (first_n + n) * kTileBytes, step, g, t, w, rest);
        CARAT_UNROLL for (int m = 0; m < 2; ++m) {
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
  CARAT_UNROLL for (int m = 0; m < 2; ++m) {
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      const int row = first_row + (first_m + m) * 16 + half * 8 + g;
      if (row >= p.rows) continue;
      CARAT_UNROLL for (int n = 0; n < 4; ++n) {
        const int group = first_group + first_n + n;
        float* out = p.out + static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + 2 * t;
        CARAT_UNROLL for (int e = 0; e < 2; ++e) {
          if (group * kTileRows + 2 * t + e < p.matrix.rows) out[e] = acc[m][n][2 * half + e];
        }
      }
    }
  }
}
CARAT_KERNEL(gemm_F32, ProductParams, 128, 1) { gemm_floats<TileType::kF32>(p); }
CARAT_KERNEL(gemm_F16, ProductParams, 128, 2) { gemm_floats<TileType::kF16>(p); }
CARAT_KERNEL(gemm_BF16, ProductParams, 128, 2) { gemm_floats<TileType::kBF16>(p); }

}  // namespace carat::cuda
