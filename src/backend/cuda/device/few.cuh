// What products of up to eight rows are made of (few.cu, few_turns.cu): two tiles of weights are the 16 rows of mma's A and 8 rows
// of activations the columns of its B, so that eight rows cost half of what sixteen do.
#pragma once

#include "backend/cuda/device/product.cuh"
#include "backend/cuda/device/rounding.cuh"
#include "backend/cuda/few_params.h"

namespace carat::cuda {

// Eight rows of activations of a chunk, as a lane of mma has them: column g = lane / 4.
template <TileType kType>
struct ColumnFragments {
  static constexpr TileFormat kFormat = tile_format(kType);
  static constexpr int kPieces = kFormat.quantised() ? 4 : 8;  // blocks of 32, steps of 16 columns
  // Where a block has two scales its sums would take 16 registers: an offset is taken from the weights instead.
  static constexpr bool kSigned = kFormat.offset != 0 && kFormat.subs == 2;
  static constexpr bool kSums = kFormat.min || (kFormat.offset != 0 && !kSigned);
  uint32_t high[kPieces][2], low[kPieces][2];
  float scales[2][4];  // of rows 2t, 2t + 1
  int sums[2][4][2];

  CARAT_METHOD void load_of(const Rounded& x, int chunk, int lane) {
    const int64_t fragment = static_cast<int64_t>(chunk) * (x.rows16 / 8);
    const uint8_t* from = (kFormat.quantised() ? x.planes + fragment * 2048 : x.pieces + fragment * 4096) + lane * 16;
    CARAT_UNROLL for (int i = 0; i < kPieces; ++i) {
      const Words4 v = load<Words4>(from + i * 512);
      high[i][0] = v.x, high[i][1] = v.y, low[i][0] = v.z, low[i][1] = v.w;
    }
    if constexpr (kFormat.quantised()) {
      CARAT_UNROLL for (int i = 0; i < 2; ++i) {
        const int64_t row = static_cast<int64_t>(chunk) * x.rows16 + 2 * (lane & 3) + i;
        const Words4 four = load<Words4>(x.scales + row * 4);
        scales[i][0] = bits_to_float(four.x), scales[i][1] = bits_to_float(four.y);
        scales[i][2] = bits_to_float(four.z), scales[i][3] = bits_to_float(four.w);
        if constexpr (kSums) {
          const Words4 s0 = load<Words4>(x.sums + row * 8), s1 = load<Words4>(x.sums + row * 8 + 4);
          const uint32_t of[8] = {s0.x, s0.y, s0.z, s0.w, s1.x, s1.y, s1.z, s1.w};
          CARAT_UNROLL for (int b = 0; b < 4; ++b) {
            sums[i][b][0] = static_cast<int>(kFormat.subs == 1 ? of[2 * b] + of[2 * b + 1] : of[2 * b]);
            sums[i][b][1] = static_cast<int>(of[2 * b + 1]);
          }
        }
      }
    }
  }
};

// Four bytes below 128, each less an offset of 128 at most.
CARAT_DEVICE uint32_t minus_in_bytes(uint32_t bytes, int offset) {
  return ((bytes | 0x80808080u) - 0x01010101u * static_cast<uint32_t>(offset)) ^ 0x80808080u;
}

// Segments of kPairs pairs of tiles, `stride` bytes from one to the next: acc[..][0], [1] of output g of the first tile and rows 2t,
// 2t + 1, [2], [3] of output g of the second. Two mma that do not wait for each other come one after the other.
template <TileType kType, int kPairs>
CARAT_DEVICE void segments_of_columns(const uint8_t* tiles, int stride, const ColumnFragments<kType>& x, int lane, float (*acc)[4]) {
  constexpr TileFormat kFormat = tile_format(kType);
  constexpr bool kSigned = ColumnFragments<kType>::kSigned;
  const int g = lane >> 2, t = lane & 3;
  CARAT_UNROLL for (int n = 0; n < kPairs; ++n) {
    CARAT_UNROLL for (int e = 0; e < 4; ++e) acc[n][e] = 0.0f;
  }
  if constexpr (kFormat.quantised()) {
    constexpr bool kSmall = sums_are_small(kType);
    constexpr int kSubs = kFormat.subs, kAtOnce = 2, kBlocks = kAtOnce / kPairs;  // of a pair, at once
    CARAT_UNROLL for (int first = 0; first < kTileBlocks; first += kBlocks) {
      uint32_t a[kAtOnce][4];
      int d[kAtOnce][kSubs][4];
      CARAT_UNROLL for (int i = 0; i < kAtOnce; ++i) {
        const int b = first + i % kBlocks;
        const uint8_t* tile = tiles + 2 * (i / kBlocks) * stride;
        const Words2 w0 = tile_words<kType>(tile, b, g, t), w1 = tile_words<kType>(tile + stride, b, g, t);
        a[i][0] = w0.low, a[i][1] = w1.low, a[i][2] = w0.high, a[i][3] = w1.high;
        if constexpr (kSigned) {
          CARAT_UNROLL for (int j = 0; j < 4; ++j) a[i][j] = minus_in_bytes(a[i][j], kFormat.offset);
        }
        if constexpr (kSubs == 1) {
          mma_k32_from(d[i][0], a[i], x.high[b][0], x.high[b][1], 0);
        } else {
          mma_k16_from(d[i][0], a[i][0], a[i][1], x.high[b][0], 0);
          mma_k16_from(d[i][1], a[i][2], a[i][3], x.high[b][1], 0);
        }
      }
      CARAT_UNROLL for (int i = 0; i < kAtOnce; ++i) {
        const int b = first + i % kBlocks;
        CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
          CARAT_UNROLL for (int e = 0; e < 4; ++e) {
            int start = kSmall ? 0x4b400000 : 0;
            if constexpr (kFormat.offset != 0 && !kSigned) start -= kFormat.offset * x.sums[e % 2][b][sub];
            d[i][sub][e] = shift_add_7(d[i][sub][e], start);
          }
        }
        if constexpr (kSubs == 1) {
          mma_k32(d[i][0], a[i], x.low[b][0], x.low[b][1]);
        } else {
          mma_k16(d[i][0], a[i][0], a[i][1], x.low[b][0]);
          mma_k16(d[i][1], a[i][2], a[i][3], x.low[b][1]);
        }
      }
      CARAT_UNROLL for (int i = 0; i < kAtOnce; ++i) {
        const int b = first + i % kBlocks;
        const uint8_t* tile = tiles + 2 * (i / kBlocks) * stride;
        const TileScales s[2] = {tile_scales<kType>(tile, b, g), tile_scales<kType>(tile + stride, b, g)};
        float* of = acc[i / kBlocks];
        CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
          CARAT_UNROLL for (int e = 0; e < 4; ++e) {
            const float isum =
                kSmall ? bits_to_float(static_cast<uint32_t>(d[i][sub][e])) - 12582912.0f : static_cast<float>(d[i][sub][e]);
            of[e] = fma_rn(isum, s[e / 2].scale[sub] * x.scales[e % 2][b], of[e]);
            if constexpr (kFormat.min) {
              of[e] = fma_rn(static_cast<float>(x.sums[e % 2][b][sub]), s[e / 2].min[sub] * x.scales[e % 2][b], of[e]);
            }
          }
        }
      }
    }
  } else {
    CARAT_UNROLL for (int step = 0; step < 8; ++step) {
      CARAT_UNROLL for (int n = 0; n < kPairs; ++n) {
        const uint8_t* tile = tiles + 2 * n * stride;
        uint32_t w0[2], w1[2], rest0[2], rest1[2];
        bf16_weights<kType>(tile, step, g, t, w0, rest0);
        bf16_weights<kType>(tile + stride, step, g, t, w1, rest1);
        const uint32_t a[4] = {w0[0], w1[0], w0[1], w1[1]};
        mma_bf16(acc[n], a, x.high[step][0], x.high[step][1]);
        mma_bf16(acc[n], a, x.low[step][0], x.low[step][1]);
        if constexpr (kType != TileType::kBF16) {
          const uint32_t rest[4] = {rest0[0], rest1[0], rest0[1], rest1[1]};
          mma_bf16(acc[n], rest, x.high[step][0], x.high[step][1]);
          mma_bf16(acc[n], rest, x.low[step][0], x.low[step][1]);
        }
      }
    }
  }
}

// The same into their places among the sums.
template <TileType kType, int kPairs>
CARAT_DEVICE void put_segments(const uint8_t* tiles, int stride, const ColumnFragments<kType>& x, int lane, float* to, int pitch) {
  float acc[kPairs][4];
  segments_of_columns<kType, kPairs>(tiles, stride, x, lane, acc);
  CARAT_UNROLL for (int n = 0; n < kPairs; ++n) {
    to[n * 16] = acc[n][0];
    to[n * 16 + pitch] = acc[n][1];
    to[n * 16 + 8] = acc[n][2];
    to[n * 16 + 8 + pitch] = acc[n][3];
  }
}

// Those of a chunk of all groups. kTwo: of two pairs at a time, as long as there are two.
template <TileType kType, bool kTwo>
CARAT_DEVICE void put_groups(const uint8_t* at, int stride, int groups, const ColumnFragments<kType>& x, int lane, float* to, int pitch) {
  int group = 0;
  if constexpr (kTwo) {
    CARAT_UNROLL_1 for (; group + 4 <= groups; group += 4) {
      put_segments<kType, 2>(at, stride, x, lane, to, pitch);
      to += 4 * kTileRows;
      at += 4 * stride;
    }
  }
  CARAT_UNROLL_1 for (; group < groups; group += 2) {
    put_segments<kType, 1>(at, stride, x, lane, to, pitch);
    to += 2 * kTileRows;
    at += 2 * stride;
  }
}

CARAT_DEVICE void few_begin(uint64_t* arrival) {
  if constexpr (kBulkCopies) {
    if (thread_index() == 0) {
      arrival_init(arrival, 1);
      arrival_fence();
    }
    block_barrier();
  }
}
// What few_fetch asked for last is there. `arrived`: zero before the first time.
CARAT_DEVICE void few_wait(uint64_t* arrival, uint32_t& arrived) {
  if constexpr (kBulkCopies) {
    arrival_wait(arrival, arrived);
    arrived ^= 1;
  } else {
    copy_async_wait<0>();
    block_barrier();
  }
}
// Brings chunks [first, first + count) of the block's groups into shared memory.
template <TileType kType>
CARAT_DEVICE void few_fetch(const FewParams& p, int first_group, int groups, int first, int count, uint8_t* weights, uint64_t* arrival) {
  constexpr int kTileBytes = tile_format(kType).tile_bytes();
  const uint8_t* from = p.matrix.data + (static_cast<int64_t>(first_group) * p.matrix.chunks + first) * kTileBytes;
  const int64_t stride = static_cast<int64_t>(p.matrix.chunks) * kTileBytes;
  const int bytes = count * kTileBytes;
  if constexpr (kBulkCopies) {
    if (thread_index() == 0) arrival_expect(arrival, static_cast<uint32_t>(groups * bytes));
    if (thread_index() < groups) bulk_copy(weights + thread_index() * bytes, from + thread_index() * stride, static_cast<uint32_t>(bytes), arrival);
  } else {
    for (int group = 0; group < groups; ++group) {
      for (int i = thread_index() * 16; i < bytes; i += block_threads() * 16) {
        copy_async_16(weights + group * bytes + i, from + group * stride + i);
      }
    }
    copy_async_commit();
  }
}

}  // namespace carat::cuda
