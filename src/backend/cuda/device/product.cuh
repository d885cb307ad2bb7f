// Products of tiles with rounded rows, the arithmetic of the definition (backend/cpu/kernels/matmul_quantised.inl):
//   isum = sum over a (sub-)block of (u - offset) q                     exact, in any order
//   acc  = fma(float(isum), scale_w * scale_x, acc)                     a chain from 0 in each segment of 128 columns
//   acc  = fma(float(sum of q), min_w * scale_x, acc)                   where the format has minima
//   total = total + acc                                                 segments in order; the result is factor * total
#pragma once

#include "backend/cuda/device/tiles.cuh"

namespace carat::cuda {

// Whether every |isum| is below 2^22: then 0x4b400000 + isum, read as a float, is 12582912 + isum.
constexpr bool sums_are_small(TileType type) {
  return type == TileType::kQ4_0 || type == TileType::kQ2_K || type == TileType::kQ3_K;
}

// The float step of one block of 32 columns.
template <TileType kType>
CARAT_DEVICE float block_step(float acc, const int* isum, const int* sums, const TileScales& w, float x_scale) {
  constexpr TileFormat kFormat = tile_format(kType);
  CARAT_UNROLL for (int sub = 0; sub < kFormat.subs; ++sub) {
    acc = fma_rn(static_cast<float>(isum[sub]), w.scale[sub] * x_scale, acc);
    if constexpr (kFormat.min) acc = fma_rn(static_cast<float>(sums[sub]), w.min[sub] * x_scale, acc);
  }
  return acc;
}

// What the result of row t is multiplied with: floats were normed before.
template <TileType kType>
CARAT_DEVICE float factor_of(const Rounded& x, int t) {
  return tile_format(kType).quantised() ? x.factors[t] : 1.0f;
}

// Sixteen bytes of a tile, wherever it lies.
template <bool kShared>
CARAT_DEVICE Words4 tile_16(const uint8_t* p) {
  if constexpr (kShared) return load<Words4>(p);
  return load_once_16(p);
}

// What a lane (block b, row r of a tile) holds of its 32 weights.
template <TileType kType, bool kShared>
struct LaneWeights {
  Words2 words[4];
  TileScales scales;

  CARAT_METHOD void load(const uint8_t* tile, int lane) {
    constexpr TileFormat kFormat = tile_format(kType);
    const int b = lane >> 3, r = lane & 7;
    const Words4 v = tile_16<kShared>(tile + lane * 16);
    const uint32_t word[4] = {v.x, v.y, v.z, v.w};
    if constexpr (kFormat.bits == 8) {
      const Words4 v2 = tile_16<kShared>(tile + 512 + lane * 16);
      const uint32_t word2[4] = {v2.x, v2.y, v2.z, v2.w};
      CARAT_UNROLL for (int j = 0; j < 4; ++j) words[j] = {word[j], word2[j]};
    } else {
      uint32_t fifths = 0;
      uint32_t sixths[2] = {0, 0};
      const auto* high = reinterpret_cast<const uint32_t*>(tile + kFormat.high_at());
      if constexpr (kFormat.bits == 5) fifths = high[lane];
      if constexpr (kFormat.bits == 6) {
        sixths[0] = high[2 * lane];
        sixths[1] = high[2 * lane + 1];
      }
      CARAT_UNROLL for (int j = 0; j < 4; ++j) words[j] = from_stored<kType>(word[j], fifths, sixths, j);
    }
    scales = tile_scales<kType>(tile, b, r);
  }

  // x: high and low planes of the block, 64 bytes.
  CARAT_METHOD void sums_of(const uint8_t* x, const int* sums, int* isum) const {
    const auto* high = reinterpret_cast<const Words4*>(x);
    const Words4 h0 = high[0], h1 = high[1], l0 = high[2], l1 = high[3];
    const uint32_t hx[8] = {h0.x, h0.y, h0.z, h0.w, h1.x, h1.y, h1.z, h1.w};
    const uint32_t lx[8] = {l0.x, l0.y, l0.z, l0.w, l1.x, l1.y, l1.z, l1.w};
    sums_of(hx, lx, sums, isum);
  }
  CARAT_METHOD void sums_of(const uint32_t* hx, const uint32_t* lx, const int* sums, int* isum) const {
    constexpr TileFormat kFormat = tile_format(kType);
    int of_high[2] = {0, 0}, of_low[2] = {0, 0};
    constexpr int kSecond = kFormat.subs - 1;
    CARAT_UNROLL for (int j = 0; j < 4; ++j) {
      of_high[0] = dot4(words[j].low, hx[j], of_high[0]);
      of_low[0] = dot4(words[j].low, lx[j], of_low[0]);
      of_high[kSecond] = dot4(words[j].high, hx[4 + j], of_high[kSecond]);
      of_low[kSecond] = dot4(words[j].high, lx[4 + j], of_low[kSecond]);
    }
    CARAT_UNROLL for (int sub = 0; sub < kFormat.subs; ++sub) {
      isum[sub] = of_high[sub] * 128 + of_low[sub] - kFormat.offset * sums[sub];
    }
  }
};

// A warp's segment: rows of a tile times kRows rows of x (layout `rows`). Lanes 24..31 end with acc[t] of row lane - 24.
// kShared: the tile lies in shared memory.
template <TileType kType, int kRows, bool kShared = false>
CARAT_DEVICE void segment_of_rows(const uint8_t* tile, const Rounded& x, int chunk, int lane, float* acc) {
  constexpr TileFormat kFormat = tile_format(kType);
  if constexpr (kFormat.quantised()) {
    LaneWeights<kType, kShared> w;
    w.load(tile, lane);
    const int b = lane >> 3;
    const int blocks = x.chunks * kTileBlocks;
    CARAT_UNROLL for (int t = 0; t < kRows; ++t) {
      const int64_t at = static_cast<int64_t>(t) * blocks + chunk * kTileBlocks + b;
      const int s0 = x.sums[2 * at], s1 = x.sums[2 * at + 1];
      const int sums[2] = {kFormat.subs == 1 ? s0 + s1 : s0, s1};
      int isum[2];
      w.sums_of(x.planes + at * 64, sums, isum);
      const float x_scale = x.scales[at];
      float value = block_step<kType>(0.0f, isum, sums, w.scales, x_scale);
      CARAT_UNROLL for (int step = 1; step < kTileBlocks; ++step) {
        const float before = from_lane_below(value, 8);
        if (b == step) value = block_step<kType>(before, isum, sums, w.scales, x_scale);
      }
      acc[t] = value;
    }
  } else {
    const int r = lane & 7;
    CARAT_UNROLL for (int t = 0; t < kRows; ++t) acc[t] = 0.0f;
    constexpr int kWide = kFormat.bits == 32 ? 4 : 8;  // columns in 16 bytes
    CARAT_UNROLL for (int i = 0; i < kTileColumns / kWide / 4; ++i) {
      const int piece = i * 4 + (lane >> 3);
      const Words4 v = tile_16<kShared>(tile + (piece * kTileRows + r) * 16);
      const uint32_t word[4] = {v.x, v.y, v.z, v.w};
      float weight[8];
      CARAT_UNROLL for (int k = 0; k < 4; ++k) {
        if constexpr (kType == TileType::kF32) {
          weight[k] = bits_to_float(word[k]);
        } else if constexpr (kType == TileType::kBF16) {
          weight[2 * k] = bits_to_float(word[k] << 16);
          weight[2 * k + 1] = bits_to_float(word[k] & 0xffff0000u);
        } else {
          weight[2 * k] = half_to_float(static_cast<uint16_t>(word[k]));
          weight[2 * k + 1] = half_to_float(static_cast<uint16_t>(word[k] >> 16));
        }
      }
      CARAT_UNROLL for (int t = 0; t < kRows; ++t) {
        const auto* values = reinterpret_cast<const Words4*>(
            x.values + (static_cast<int64_t>(t) * x.chunks + chunk) * kTileColumns + piece * kWide);
        CARAT_UNROLL for (int k = 0; k < kWide / 4; ++k) {
          const Words4 four = values[k];
          acc[t] = fma_rn(weight[4 * k], bits_to_float(four.x), acc[t]);
          acc[t] = fma_rn(weight[4 * k + 1], bits_to_float(four.y), acc[t]);
          acc[t] = fma_rn(weight[4 * k + 2], bits_to_float(four.z), acc[t]);
          acc[t] = fma_rn(weight[4 * k + 3], bits_to_float(four.w), acc[t]);
        }
      }
    }
    CARAT_UNROLL for (int t = 0; t < kRows; ++t) {
      acc[t] += from_lane_xor(acc[t], 8);
      acc[t] += from_lane_xor(acc[t], 16);
    }
  }
}

// B fragments of 16 columns of a float tile as bf16: w + rest is the weight (all of it for F16, 16 bits of F32).
template <TileType kType>
CARAT_DEVICE void bf16_weights(const uint8_t* tile, int step, int g, int t, uint32_t* w, uint32_t* rest) {
  CARAT_UNROLL for (int half = 0; half < 2; ++half) {
    const int column = step * 16 + half * 8 + 2 * t;
    if constexpr (kType == TileType::kBF16) {
      w[half] = load<uint32_t>(tile + (column / 8 * kTileRows + g) * 16 + column % 8 * 2);
      rest[half] = 0;
    } else {
      uint32_t high[2], low[2];
      CARAT_UNROLL for (int i = 0; i < 2; ++i) {
        const float value = tile_element_of<kType>(tile, g, column + i);
        high[i] = to_bf16(value);
        low[i] = to_bf16(value - bits_to_float(high[i] << 16));
      }
      w[half] = high[0] | high[1] << 16;
      rest[half] = low[0] | low[1] << 16;
    }
  }
}

// 16 rows of activations of one chunk, as a lane of mma has them: row g = lane / 4 and g + 8.
template <TileType kType>
struct RowFragments {
  static constexpr int kPieces = tile_format(kType).quantised() ? 4 : 8;  // blocks of 32, steps of 16 columns
  uint32_t high[kPieces][4], low[kPieces][4];
  float scales[2][4];
  int sums[2][8];

  CARAT_METHOD void load_of(const Rounded& x, int chunk, int m, int lane) {
    const int64_t fragment = static_cast<int64_t>(chunk) * (x.rows16 / 16) + m;
    constexpr bool kQuantised = tile_format(kType).quantised();
    const uint8_t* from = kQuantised ? x.planes + fragment * 4096 + lane * 16 : x.pieces + fragment * 8192 + lane * 16;
    CARAT_UNROLL for (int i = 0; i < kPieces; ++i) {
      const Words4 h = load<Words4>(from + (kQuantised ? i * 512 : i * 1024));
      const Words4 l = load<Words4>(from + (kQuantised ? 2048 + i * 512 : i * 1024 + 512));
      high[i][0] = h.x, high[i][1] = h.y, high[i][2] = h.z, high[i][3] = h.w;
      low[i][0] = l.x, low[i][1] = l.y, low[i][2] = l.z, low[i][3] = l.w;
    }
    if constexpr (kQuantised) {
      const int64_t row = static_cast<int64_t>(chunk) * x.rows16 + m * 16 + (lane >> 2);
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        const Words4 four = load<Words4>(x.scales + (row + 8 * half) * 4);
        const Words4 s0 = load<Words4>(x.sums + (row + 8 * half) * 8),
                     s1 = load<Words4>(x.sums + (row + 8 * half) * 8 + 4);
        const uint32_t of[4] = {four.x, four.y, four.z, four.w};
        const uint32_t all[8] = {s0.x, s0.y, s0.z, s0.w, s1.x, s1.y, s1.z, s1.w};
        CARAT_UNROLL for (int i = 0; i < 4; ++i) scales[half][i] = bits_to_float(of[i]);
        CARAT_UNROLL for (int i = 0; i < 8; ++i) sums[half][i] = static_cast<int>(all[i]);
      }
    }
  }
};

// Their segments with a tile: rows g and g + 8, outputs 2t and 2t + 1 of it.
template <TileType kType>
CARAT_DEVICE void segment_of_fragments(const uint8_t* tile, const RowFragments<kType>& x, int lane, float* acc) {
  constexpr TileFormat kFormat = tile_format(kType);
  const int g = lane >> 2, t = lane & 3;
  CARAT_UNROLL for (int e = 0; e < 4; ++e) acc[e] = 0.0f;
  if constexpr (kFormat.quantised()) {
    CARAT_UNROLL for (int b = 0; b < kTileBlocks; ++b) {
      const Words2 w = tile_words<kType>(tile, b, g, t);
      const TileScales s[2] = {tile_scales<kType>(tile, b, 2 * t), tile_scales<kType>(tile, b, 2 * t + 1)};
      int d[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
      if constexpr (kFormat.subs == 1) {
        mma_k32(d[0], x.high[b], w.low, w.high);
        CARAT_UNROLL for (int e = 0; e < 4; ++e) d[0][e] = d[0][e] * 128;
        mma_k32(d[0], x.low[b], w.low, w.high);
      } else {
        mma_k16(d[0], x.high[b][0], x.high[b][1], w.low);
        mma_k16(d[1], x.high[b][2], x.high[b][3], w.high);
        CARAT_UNROLL for (int e = 0; e < 4; ++e) {
          d[0][e] = d[0][e] * 128;
          d[1][e] = d[1][e] * 128;
        }
        mma_k16(d[0], x.low[b][0], x.low[b][1], w.low);
        mma_k16(d[1], x.low[b][2], x.low[b][3], w.high);
      }
      CARAT_UNROLL for (int e = 0; e < 4; ++e) {
        const int s0 = x.sums[e / 2][2 * b], s1 = x.sums[e / 2][2 * b + 1];
        const int sums[2] = {kFormat.subs == 1 ? s0 + s1 : s0, s1};
        const int isum[2] = {d[0][e] - kFormat.offset * sums[0], d[1][e] - kFormat.offset * sums[1]};
        acc[e] = block_step<kType>(acc[e], isum, sums, s[e % 2], x.scales[e / 2][b]);
      }
    }
  } else {
    CARAT_UNROLL for (int step = 0; step < 8; ++step) {
      uint32_t w[2], rest[2];
      bf16_weights<kType>(tile, step, g, t, w, rest);
      mma_bf16(acc, x.high[step], w[0], w[1]);
      mma_bf16(acc, x.low[step], w[0], w[1]);
      if constexpr (kType != TileType::kBF16) {
        mma_bf16(acc, x.high[step], rest[0], rest[1]);
        mma_bf16(acc, x.low[step], rest[0], rest[1]);
      }
    }
  }
}

}  // namespace carat::cuda
