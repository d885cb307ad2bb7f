// A quantised matrix times many rows: 64 rows x 64 outputs a block of two warps, chunk after chunk of 128 columns through
// shared memory while the next one is on its way. A warp multiplies all rows with its 32 outputs by mma.m16n8k32; a chunk
// is a segment of the definition, so its chain of fma lives and dies in registers, and only totals live on.
//   The low plane's mma starts from 128 * (the high plane's sums) - offset * (sums of activations): one instruction. Where no
// sum reaches 2^22 it also starts from 0x4b400000, so that its result, read as a float, is 12582912 + the sum.
#include "backend/cuda/device/gemm.cuh"

namespace carat::cuda {

template <TileType kType>
CARAT_DEVICE void gemm(const ProductParams& p) {
  constexpr TileFormat kFormat = tile_format(kType);
  constexpr int kSubs = kFormat.subs, kTileBytes = kFormat.tile_bytes();
  constexpr bool kMin = kFormat.min;
  constexpr bool kDirect = !kFormat.super && !kMin;  // scales are halves side by side: straight to registers
  constexpr bool kSmall = sums_are_small(kType);
  constexpr int kScales = kGemmTiles * 4096, kSums = kScales + kGemmTiles * 256, kWeights = kSums + kGemmTiles * 512;
  constexpr int kStage = kWeights + kGemmGroups * kTileBytes;
  static_assert(kStage == gemm_stage_bytes(kType) && kStage % 16 == 0, "as the host counts");
  uint8_t* shared = shared_memory();
  auto* arrivals = reinterpret_cast<uint64_t*>(shared + 2 * kStage);
  auto* scales = reinterpret_cast<float*>(shared + 2 * kStage + 128);  // [warp][scale, min][block][sub][32 outputs]
  const int lane = lane_index(), warp = warp_index();
  const int first_group = static_cast<int>(blockIdx.x) * kGemmGroups;
  const int first_tile = static_cast<int>(blockIdx.y) * kGemmTiles;
  const int chunks = p.matrix.chunks;
  const Rounded& x = p.x;
  const int tiles = least(kGemmTiles, x.rows16 / 16 - first_tile);

  GemmPiece piece;
  if (lane < kGemmGroups) {
    const int group = least(first_group + lane, p.matrix.groups - 1);
    piece = {p.matrix.data + static_cast<int64_t>(group) * chunks * kTileBytes, kTileBytes, kWeights + lane * kTileBytes, kTileBytes};
  } else if (lane == kGemmGroups) {
    piece = {x.planes + first_tile * 4096, static_cast<int64_t>(x.rows16) * 256, 0, tiles * 4096};
  } else if (lane == kGemmGroups + 1) {
    piece = {reinterpret_cast<const uint8_t*>(x.scales + first_tile * 64), static_cast<int64_t>(x.rows16) * 16, kScales, tiles * 256};
  } else if (lane == kGemmGroups + 2) {
    piece = {reinterpret_cast<const uint8_t*>(x.sums + first_tile * 128), static_cast<int64_t>(x.rows16) * 32, kSums, tiles * 512};
  }
  const int all_bytes = tiles * (4096 + 256 + 512) + kGemmGroups * kTileBytes;
  gemm_begin(arrivals);

  const int g = lane >> 2, t = lane & 3;
  float total[kGemmTiles][4][4];  // tile of rows, group of this warp, element
  CARAT_UNROLL for (int m = 0; m < kGemmTiles; ++m) {
    CARAT_UNROLL for (int n = 0; n < 4; ++n) {
      CARAT_UNROLL for (int e = 0; e < 4; ++e) total[m][n][e] = 0.0f;
    }
  }
  piece.fetch(shared, arrivals, kGemmGroups + 3, all_bytes);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const uint8_t* stage = shared + (chunk & 1) * kStage;
    gemm_wait(arrivals + (chunk & 1), (chunk >> 1) & 1);
    block_barrier();  // nobody reads the chunk before
    const int other = (chunk + 1) & 1;
    if (chunk + 1 < chunks) piece.fetch(shared + other * kStage, arrivals + other, kGemmGroups + 3, all_bytes);

    const uint8_t* weights = stage + kWeights + warp * 4 * kTileBytes;
    float* own = scales + warp * (kMin ? 2 : 1) * kSubs * 128;
    if constexpr (!kDirect) {
      CARAT_UNROLL for (int b = 0; b < kTileBlocks; ++b) {
        const TileScales s = tile_scales<kType>(weights + lane / 8 * kTileBytes, b, lane % 8);
        CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
          own[(b * kSubs + sub) * 32 + lane] = s.scale[sub];
          if constexpr (kMin) own[kSubs * 128 + (b * kSubs + sub) * 32 + lane] = s.min[sub];
        }
      }
      warp_barrier();
    }
    uint32_t w[4][4][2];
    float ws[kDirect ? 4 : 1][4][2];
    CARAT_UNROLL for (int n = 0; n < 4; ++n) {
      CARAT_UNROLL for (int b = 0; b < 4; ++b) {
        const Words2 words = tile_words<kType>(weights + n * kTileBytes, b, g, t);
        w[n][b][0] = words.low;
        w[n][b][1] = words.high;
        if constexpr (kDirect) {
          const auto two = load<uint32_t>(weights + n * kTileBytes + kFormat.scale_at() + 2 * (b * kTileRows + 2 * t));
          ws[n][b][0] = half_to_float(static_cast<uint16_t>(two));
          ws[n][b][1] = half_to_float(static_cast<uint16_t>(two >> 16));
        }
      }
    }
    CARAT_UNROLL for (int m = 0; m < kGemmTiles; ++m) {
      uint32_t high[4][4], low[4][4];
      float xs[2][4], sums[2][4][kSubs];
      int start[2][4][kSubs];  // of the low plane's mma
      CARAT_UNROLL for (int b = 0; b < 4; ++b) {
        const Words4 h = load<Words4>(stage + m * 4096 + b * 512 + lane * 16);
        const Words4 v = load<Words4>(stage + m * 4096 + 2048 + b * 512 + lane * 16);
        high[b][0] = h.x, high[b][1] = h.y, high[b][2] = h.z, high[b][3] = h.w;
        low[b][0] = v.x, low[b][1] = v.y, low[b][2] = v.z, low[b][3] = v.w;
      }
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        const int row = m * 16 + half * 8 + g;
        const Words4 four = load<Words4>(stage + kScales + row * 16);
        xs[half][0] = bits_to_float(four.x), xs[half][1] = bits_to_float(four.y);
        xs[half][2] = bits_to_float(four.z), xs[half][3] = bits_to_float(four.w);
        if constexpr (kMin || kFormat.offset != 0) {
          const Words4 s0 = load<Words4>(stage + kSums + row * 32), s1 = load<Words4>(stage + kSums + row * 32 + 16);
          const uint32_t of[8] = {s0.x, s0.y, s0.z, s0.w, s1.x, s1.y, s1.z, s1.w};
          CARAT_UNROLL for (int b = 0; b < 4; ++b) {
            CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
              const auto sum = static_cast<int>(kSubs == 1 ? of[2 * b] + of[2 * b + 1] : of[2 * b + sub]);
              if constexpr (kMin) sums[half][b][sub] = static_cast<float>(sum);
              start[half][b][sub] = (kSmall ? 0x4b400000 : 0) - kFormat.offset * sum;
            }
          }
        } else {
          CARAT_UNROLL for (int b = 0; b < 4; ++b) {
            CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) start[half][b][sub] = 0;
          }
        }
      }
      CARAT_UNROLL for (int n = 0; n < 4; ++n) {
        float acc[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        CARAT_UNROLL for (int b = 0; b < 4; ++b) {
          int d[kSubs][4];
          if constexpr (kSubs == 1) {
            mma_k32_from(d[0], high[b], w[n][b][0], w[n][b][1], 0);
          } else {
            mma_k16_from(d[0], high[b][0], high[b][1], w[n][b][0], 0);
            mma_k16_from(d[1], high[b][2], high[b][3], w[n][b][1], 0);
          }
          CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
            CARAT_UNROLL for (int e = 0; e < 4; ++e) d[sub][e] = shift_add_7(d[sub][e], start[e / 2][b][sub]);
          }
          if constexpr (kSubs == 1) {
            mma_k32(d[0], low[b], w[n][b][0], w[n][b][1]);
          } else {
            mma_k16(d[0], low[b][0], low[b][1], w[n][b][0]);
            mma_k16(d[1], low[b][2], low[b][3], w[n][b][1]);
          }
          CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
            float scale[2], min[2];
            if constexpr (kDirect) {
              scale[0] = ws[n][b][0], scale[1] = ws[n][b][1];
            } else {
              const float* at = own + (b * kSubs + sub) * 32 + n * 8 + 2 * t;
              scale[0] = at[0], scale[1] = at[1];
              if constexpr (kMin) min[0] = at[kSubs * 128], min[1] = at[kSubs * 128 + 1];
            }
            CARAT_UNROLL for (int e = 0; e < 4; ++e) {
              const float isum = kSmall ? bits_to_float(static_cast<uint32_t>(d[sub][e])) - 12582912.0f
                                        : static_cast<float>(d[sub][e]);
              acc[e] = fma_rn(isum, scale[e % 2] * xs[e / 2][b], acc[e]);
              if constexpr (kMin) acc[e] = fma_rn(sums[e / 2][b][sub], min[e % 2] * xs[e / 2][b], acc[e]);
            }
          }
        }
        CARAT_UNROLL for (int e = 0; e < 4; ++e) total[m][n][e] = total[m][n][e] + acc[e];
        if constexpr (!kDirect) keep_order();
      }
    }
  }
  const auto store = [&](bool whole) {
    CARAT_UNROLL for (int m = 0; m < kGemmTiles; ++m) {
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        const int row = (first_tile + m) * 16 + half * 8 + g;
        const float factor = x.factors[least(row, p.rows - 1)];
        CARAT_UNROLL for (int n = 0; n < 4; ++n) {
          gemm_store(p, whole, row, first_group + warp * 4 + n, t, factor * total[m][n][2 * half], factor * total[m][n][2 * half + 1]);
        }
      }
    }
  };
  if (gemm_whole(p, first_tile, kGemmTiles, first_group, kGemmGroups)) {
    store(true);
  } else {
    store(false);
  }
}

#define CARAT_GEMM(name) \
  CARAT_KERNEL(gemm_##name, ProductParams, kGemmThreads, 4) { gemm<TileType::k##name>(p); }
CARAT_CUDA_QUANTISED_TYPES(CARAT_GEMM)
#undef CARAT_GEMM

}  // namespace carat::cuda
