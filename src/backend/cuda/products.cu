// A matrix times rows that are more than few (few.cu) and fewer than many (gemm.cu): a block for 16 rows and as many groups of 8
// outputs as let all blocks run at once. Its warps take segments of 128 columns in rounds, each for all of the block's outputs, and
// after each round the segments are added in their order. Each warp brings the weights that it multiplies, a few tiles ahead.
//   Between gate and up a block may leave the next product's input.
#include "backend/cuda/device/product.cuh"
#include "backend/cuda/device/rounding.cuh"

namespace carat::cuda {

// Segments of kTiles tiles with 16 rows, all of their weights asked for first.
template <TileType kType, int kTiles>
CARAT_DEVICE void segments_of_fragments(const uint8_t* const* tiles, const RowFragments<kType>& x, int lane, float (*acc)[4]) {
  constexpr TileFormat kFormat = tile_format(kType);
  if constexpr (!kFormat.quantised()) {
    CARAT_UNROLL for (int n = 0; n < kTiles; ++n) segment_of_fragments<kType>(tiles[n], x, lane, acc[n]);
  } else {
    constexpr int kSubs = kFormat.subs;
    constexpr bool kSmall = sums_are_small(kType);
    const int g = lane >> 2, t = lane & 3;
    Words2 w[kTiles][4];
    TileScales s[kTiles][4][2];
    CARAT_UNROLL for (int n = 0; n < kTiles; ++n) {
      CARAT_UNROLL for (int b = 0; b < 4; ++b) {
        w[n][b] = tile_words<kType>(tiles[n], b, g, t);
        if constexpr (!kFormat.super && !kFormat.min) {  // two halves side by side
          const auto two = load<uint32_t>(tiles[n] + kFormat.scale_at() + 2 * (b * kTileRows + 2 * t));
          s[n][b][0].scale[0] = half_to_float(static_cast<uint16_t>(two));
          s[n][b][1].scale[0] = half_to_float(static_cast<uint16_t>(two >> 16));
        } else {
          s[n][b][0] = tile_scales<kType>(tiles[n], b, 2 * t);
          s[n][b][1] = tile_scales<kType>(tiles[n], b, 2 * t + 1);
        }
      }
    }
    CARAT_UNROLL for (int n = 0; n < kTiles; ++n) {
      CARAT_UNROLL for (int e = 0; e < 4; ++e) acc[n][e] = 0.0f;
    }
    CARAT_UNROLL for (int b = 0; b < 4; ++b) {
      int d[kTiles][kSubs][4], sums[2][kSubs];
      CARAT_UNROLL for (int n = 0; n < kTiles; ++n) {
        if constexpr (kSubs == 1) {
          mma_k32_from(d[n][0], x.high[b], w[n][b].low, w[n][b].high, 0);
        } else {
          mma_k16_from(d[n][0], x.high[b][0], x.high[b][1], w[n][b].low, 0);
          mma_k16_from(d[n][1], x.high[b][2], x.high[b][3], w[n][b].high, 0);
        }
      }
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        if constexpr (kSubs == 1) {
          sums[half][0] = x.sums[half][2 * b] + x.sums[half][2 * b + 1];
        } else {
          sums[half][0] = x.sums[half][2 * b], sums[half][1] = x.sums[half][2 * b + 1];
        }
      }
      CARAT_UNROLL for (int n = 0; n < kTiles; ++n) {
        CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
          CARAT_UNROLL for (int e = 0; e < 4; ++e) {
            d[n][sub][e] = shift_add_7(d[n][sub][e], (kSmall ? 0x4b400000 : 0) - kFormat.offset * sums[e / 2][sub]);
          }
        }
        if constexpr (kSubs == 1) {
          mma_k32(d[n][0], x.low[b], w[n][b].low, w[n][b].high);
        } else {
          mma_k16(d[n][0], x.low[b][0], x.low[b][1], w[n][b].low);
          mma_k16(d[n][1], x.low[b][2], x.low[b][3], w[n][b].high);
        }
      }
      CARAT_UNROLL for (int n = 0; n < kTiles; ++n) {
        CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
          CARAT_UNROLL for (int e = 0; e < 4; ++e) {
            const float isum =
                kSmall ? bits_to_float(static_cast<uint32_t>(d[n][sub][e])) - 12582912.0f : static_cast<float>(d[n][sub][e]);
            const float x_scale = x.scales[e / 2][b];
            acc[n][e] = fma_rn(isum, s[n][b][e % 2].scale[sub] * x_scale, acc[n][e]);
            if constexpr (kFormat.min) {
              acc[n][e] = fma_rn(static_cast<float>(sums[e / 2][sub]), s[n][b][e % 2].min[sub] * x_scale, acc[n][e]);
            }
          }
        }
      }
    }
  }
}

// Sums of groups gate, up, gate, up ... of 16 rows: a warp for 32 columns of a row of the next product's input.
template <TileType kType>
CARAT_DEVICE void some_gate(const SomeParams& p, const float* part, int pitch, int first_group, int warp, int warps, int lane) {
  const int blocks = p.groups / 8;  // of 32 columns
  for (int mine = warp; mine < 16 * blocks; mine += warps) {
    const int row = static_cast<int>(blockIdx.y) * 16 + mine / blocks, block = mine % blocks;
    if (row >= p.rows) break;
    const int column = first_group / 2 * kTileRows + block * 32 + lane;
    if (column >= p.gated.columns) continue;
    const float* from = part + mine / blocks * pitch + block * 64 + lane / kTileRows * 2 * kTileRows + lane % kTileRows;
    float gate = 0.0f, up = 0.0f;
    CARAT_UNROLL_8 for (int i = 0; i < p.matrix.chunks; ++i) {
      gate = gate + from[i * 16 * pitch];
      up = up + from[i * 16 * pitch + kTileRows];
    }
    const float factor = factor_of<kType>(p.x, row);
    const float value = gelu(factor * gate) * (factor * up);
    if (p.gated.integers != 0) round_block(p.gated, row, column / 32, value);
    if (p.gated.floats != 0) store_float(p.gated, row, column, value);
    if (column == 0) p.gated.factors[row] = 1.0f;
  }
}

template <TileType kType>
CARAT_DEVICE void product_some(const SomeParams& p) {
  constexpr int kTileBytes = tile_format(kType).tile_bytes(), kAtOnce = some_at_once(kType), kDepth = some_depth(kType);
  const int outputs = p.groups * kTileRows, pitch = some_pitch(p.groups);
  const int threads = block_threads(), warps = threads / 32, warp = warp_index(), lane = lane_index();
  auto* part = reinterpret_cast<float*>(shared_memory());  // [warps][16 rows][pitch]
  uint8_t* ring = shared_memory() + warps * 16 * pitch * 4 + warp * some_ring_bytes(kType);
  const int first_group = static_cast<int>(blockIdx.x) * p.groups, first_row = static_cast<int>(blockIdx.y) * 16;
  const int groups = least(p.groups, p.matrix.groups - first_group);
  const int chunks = p.matrix.chunks;
  const int64_t stride = static_cast<int64_t>(chunks) * kTileBytes;
  const uint8_t* weights = p.matrix.data + first_group * stride;
  int coming_chunk = warp, coming = 0, slot = 0;  // what is asked for next, where it goes and what is multiplied next
  const auto fetch = [&](int to) {
    if (coming_chunk < chunks) {
      CARAT_UNROLL for (int n = 0; n < kAtOnce; ++n) {
        const uint8_t* from = weights + least(coming + n, groups - 1) * stride + static_cast<int64_t>(coming_chunk) * kTileBytes;
        CARAT_UNROLL for (int i = 0; i < kTileBytes; i += 512) {
          if (i + lane * 16 < kTileBytes) copy_async_16(ring + (to * kAtOnce + n) * kTileBytes + i + lane * 16, from + i + lane * 16);
        }
      }
    }
    copy_async_commit();
    coming += kAtOnce;
    if (coming >= groups) coming = 0, coming_chunk += warps;
  };
  next_may_begin();
  CARAT_UNROLL for (int i = 0; i < kDepth; ++i) fetch(i);
  previous_wait();
  float total[kSomeTotals];
  CARAT_UNROLL for (int k = 0; k < kSomeTotals; ++k) total[k] = 0.0f;
  RowFragments<kType> x;
  if (warp < chunks) x.load_of(p.x, warp, static_cast<int>(blockIdx.y), lane);
  for (int first = 0; first < chunks; first += warps) {
    const int chunk = first + warp;
    if (chunk < chunks) {
      float* to = part + (warp * 16 + (lane >> 2)) * pitch + (lane & 3) * 2;
      CARAT_UNROLL_1 for (int n = 0; n < groups; n += kAtOnce) {
        copy_async_wait<kDepth - 1>();
        warp_barrier();
        const uint8_t* tiles[kAtOnce];
        CARAT_UNROLL for (int i = 0; i < kAtOnce; ++i) tiles[i] = ring + (slot * kAtOnce + i) * kTileBytes;
        float acc[kAtOnce][4];
        segments_of_fragments<kType, kAtOnce>(tiles, x, lane, acc);
        warp_barrier();
        fetch(slot);
        slot = slot + 1 == kDepth ? 0 : slot + 1;
        CARAT_UNROLL for (int i = 0; i < kAtOnce; ++i) {
          if (n + i >= groups) continue;
          *reinterpret_cast<Floats2*>(to + i * kTileRows) = {acc[i][0], acc[i][1]};
          *reinterpret_cast<Floats2*>(to + i * kTileRows + 8 * pitch) = {acc[i][2], acc[i][3]};
        }
        to += kAtOnce * kTileRows;
      }
    }
    if (chunk + warps < chunks) x.load_of(p.x, chunk + warps, static_cast<int>(blockIdx.y), lane);
    block_barrier();
    if (p.gate != 0) return some_gate<kType>(p, part, pitch, first_group, warp, warps, lane);  // all chunks are there
    const int count = least(warps, chunks - first);
    const bool last = first + warps >= chunks;
    CARAT_UNROLL for (int k = 0; k < kSomeTotals; ++k) {
      const int mine = thread_index() + k * threads;
      if (mine >= 16 * outputs) continue;
      const int r = mine / outputs, output = mine % outputs;
      const float* from = part + r * pitch + output;
      CARAT_UNROLL_8 for (int i = 0; i < count; ++i) total[k] = total[k] + from[i * 16 * pitch];
      const int row = first_row + r, group = first_group + output / kTileRows;
      if (!last || row >= p.rows || group * kTileRows + output % kTileRows >= p.matrix.rows) continue;
      p.out[static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + output % kTileRows] =
          factor_of<kType>(p.x, row) * total[k];
    }
    block_barrier();
  }
}

#define CARAT_PRODUCT(name) \
  CARAT_KERNEL(some_##name, SomeParams, kSomeThreads, 1) { product_some<TileType::k##name>(p); }
CARAT_CUDA_TYPES(CARAT_PRODUCT)
#undef CARAT_PRODUCT

}  // namespace carat::cuda
