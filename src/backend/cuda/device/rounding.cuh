// Rows of activations to what products read (struct Rounded): 15 bits in two planes, a scale per 32 columns, written for a
// lane per output row or as fragments of mma.
#pragma once

#include "backend/cuda/device/exact.cuh"
#include "backend/cuda/device/math.cuh"

namespace carat::cuda {

// What a warp has when it has rounded the block whose column `lane` has this value. A block that holds NaN or Inf gets the
// scale NaN.
struct RoundedBlock {
  int q, sum;  // sum: of the lane's half of the block
  float scale;
};
// A block's factors, by the largest of its magnitudes as bits: q = round(value * inverse), value = q * scale nearly.
struct BlockScale {
  float inverse, scale;
};
CARAT_DEVICE BlockScale scale_of_block(uint32_t largest) {
  const float magnitude = bits_to_float(largest);
  if (is_moderate(magnitude)) return {div_moderate(16383.0f, magnitude), div_moderate(magnitude, 16383.0f)};
  const bool broken = largest >= 0x7f800000u;
  const bool zero = !(magnitude > 1e-30f);
  return {zero || broken ? 0.0f : div_rn(16383.0f, magnitude), broken ? bits_to_float(0x7fc00000u)
                                                               : zero ? 0.0f
                                                                      : div_rn(magnitude, 16383.0f)};
}
// A value of 15 bits, rounded, and as two halves: 128 times its high plane, and above it the low one. Of what is no number, anything:
// its block's scale is NaN.
struct HalvesOfInteger {
  int q;
  uint32_t halves;
};
CARAT_DEVICE HalvesOfInteger halves_of(float value) {
  constexpr float kToHundreds = 1610612736.0f;  // 1.5 * 2^30: rounds to multiples of 128
  const float shifted = value + kToInteger, q = shifted - kToInteger;
  const float high = ((q - 63.5f) + kToHundreds) - kToHundreds;
  return {static_cast<int>(float_bits(shifted) - 0x4b400000u), pack_halves(high, q - high)};
}
// Four neighbouring columns of a row to their place in a tile (exact_at): neighbours of a core are every other column.
CARAT_DEVICE void store_exact_four(uint8_t* at, const HalvesOfInteger* q) {
  CARAT_UNROLL for (int odd = 0; odd < 2; ++odd) {
    const uint32_t a = q[odd].halves, b = q[odd + 2].halves;
    *reinterpret_cast<uint32_t*>(at + odd * 128) = choose_bytes(a, b, 0x5410);
    *reinterpret_cast<uint32_t*>(at + odd * 128 + kExactPlane) = choose_bytes(a, b, 0x7632);
  }
}
// The largest magnitude of a block that eight lanes have, four columns each, as bits.
CARAT_DEVICE uint32_t largest_of_block(const float* value) {
  uint32_t largest = 0;
  CARAT_UNROLL for (int e = 0; e < 4; ++e) {
    const uint32_t magnitude = float_bits(value[e]) & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
  }
  CARAT_UNROLL for (int width = 1; width < 8; width *= 2) {
    const uint32_t other = from_lane_xor(largest, width);
    largest = other > largest ? other : largest;
  }
  return largest;
}
CARAT_DEVICE RoundedBlock round_value(float value) {
  const BlockScale scale = scale_of_block(warp_max(float_bits(value) & 0x7fffffffu));
  const int q = round_to_int(value * scale.inverse);  // what is no number becomes 0
  int sum = q;
  CARAT_UNROLL for (int width = 8; width > 0; width /= 2) sum += from_lane_xor(sum, width);
  return {q, sum, scale.scale};
}

// Into a row's place (not fragments).
CARAT_DEVICE void store_block(const Rounded& out, int64_t at, const RoundedBlock& r) {
  const int lane = lane_index();
  out.planes[at * 64 + lane] = static_cast<uint8_t>(r.q >> 7);
  out.planes[at * 64 + 32 + lane] = static_cast<uint8_t>(r.q & 127);
  if (lane == 0) out.scales[at] = r.scale;
  if ((lane & 15) == 0) out.sums[at * 2 + lane / 16] = r.sum;
}

// Into a tile of products of warpgroups (exact_params.h).
CARAT_DEVICE void store_exact(const Rounded& out, int row, int block, const RoundedBlock& r) {
  const int lane = lane_index(), k = block % kTileBlocks;
  uint8_t* tile = exact_tile(out, block / kTileBlocks, row);
  const int at = exact_at(row % kExactRows, k, lane);
  *reinterpret_cast<uint16_t*>(tile + at) = int_to_half(r.q & ~127);
  *reinterpret_cast<uint16_t*>(tile + at + kExactPlane) = int_to_half(r.q & 127);
  if (lane == 0) *exact_scale(tile, k, row % kExactRows) = r.scale;
  if ((lane & 15) == 0) *exact_sum(tile, k, lane / 16, row % kExactRows) = static_cast<float>(r.sum);
}

// Into its place, wherever that is.
CARAT_DEVICE void put_block(const Rounded& out, int row, int block, const RoundedBlock& r) {
  const int lane = lane_index();
  if (out.fragments == 0) return store_block(out, static_cast<int64_t>(row) * out.chunks * kTileBlocks + block, r);
  if (out.fragments == kExactForm) return store_exact(out, row, block, r);
  const int chunk = block / kTileBlocks, k = block % kTileBlocks;
  const int64_t at = (static_cast<int64_t>(chunk) * out.rows16 + row) * kTileBlocks + k;
  if (lane == 0) out.scales[at] = r.scale;
  if ((lane & 15) == 0) out.sums[at * 2 + lane / 16] = r.sum;
  if (out.fragments == kColumnsForm) {
    uint8_t* p = out.planes + (static_cast<int64_t>(chunk) * (out.rows16 / 8) + row / 8) * 2048 + k * 512 +
                 ((row & 7) * 4 + (lane & 15) / 4) * 16 + lane / 16 * 4 + (lane & 3);
    p[0] = static_cast<uint8_t>(r.q >> 7);
    p[8] = static_cast<uint8_t>(r.q & 127);
    return;
  }
  const int64_t tile = static_cast<int64_t>(chunk) * (out.rows16 / 16) + row / 16;
  const int to = (row & 7) * 4 + (lane & 15) / 4;
  const int part = ((row >> 3) & 1) + 2 * (lane >> 4);
  uint8_t* p = out.planes + tile * 4096 + k * 512 + to * 16 + part * 4 + (lane & 3);
  p[0] = static_cast<uint8_t>(r.q >> 7);
  p[2048] = static_cast<uint8_t>(r.q & 127);
}

// A warp rounds a block into its place.
CARAT_DEVICE void round_block(const Rounded& out, int row, int block, float value) {
  put_block(out, row, block, round_value(value));
}

// Where an element lies among cores, in 16-bit words, and from one plane to the next.
CARAT_DEVICE int64_t core_at(const Rounded& out, int row, int column) {
  return ((static_cast<int64_t>(column / 64) * core_groups(out.rows16) + row / 8) * 8 + column % 64 / 8) * 64 +
         row % 8 * 8 + column % 8;
}
CARAT_DEVICE int64_t core_plane(const Rounded& out) {
  return static_cast<int64_t>(core_groups(out.rows16)) * out.chunks * kTileColumns * 8;
}
// Two neighbours, the first of an even column.
CARAT_DEVICE void put_bf16(uint16_t* at, int64_t plane, bool two_planes, float a, float b) {
  const uint32_t high = pack_bf16(a, b);
  *reinterpret_cast<uint32_t*>(at) = high;
  if (!two_planes) return;
  *reinterpret_cast<uint32_t*>(at + plane) = pack_bf16(a - bits_to_float(high << 16), b - bits_to_float(high & 0xffff0000u));
}
CARAT_DEVICE void store_core_pair(const Rounded& out, int row, int column, float a, float b) {
  put_bf16(reinterpret_cast<uint16_t*>(out.pieces) + core_at(out, row, column), core_plane(out), out.core_planes == 2, a, b);
}

// The float form of one element.
CARAT_DEVICE void store_float(const Rounded& out, int row, int column, float value) {
  if (out.fragments == 0) {
    out.values[static_cast<int64_t>(row) * out.chunks * kTileColumns + column] = value;
    return;
  }
  const uint16_t high = to_bf16(value);
  const uint16_t low = to_bf16(value - bits_to_float(static_cast<uint32_t>(high) << 16));
  if (out.fragments == 2) {
    auto* at = reinterpret_cast<uint16_t*>(out.pieces) + core_at(out, row, column);
    at[0] = high;
    if (out.core_planes == 2) at[core_plane(out)] = low;
    return;
  }
  const int step = column % kTileColumns / 16, k = column % 16;
  if (out.fragments == kColumnsForm) {
    uint8_t* p = out.pieces + (static_cast<int64_t>(column / kTileColumns) * (out.rows16 / 8) + row / 8) * 4096 +
                 step * 512 + ((row & 7) * 4 + (k & 7) / 2) * 16 + (k >> 3) * 4 + (k & 1) * 2;
    *reinterpret_cast<uint16_t*>(p) = high;
    *reinterpret_cast<uint16_t*>(p + 8) = low;
    return;
  }
  const int64_t tile = static_cast<int64_t>(column / kTileColumns) * (out.rows16 / 16) + row / 16;
  const int to = (row & 7) * 4 + (k & 7) / 2;
  const int part = ((row >> 3) & 1) + 2 * (k >> 3);
  uint8_t* p = out.pieces + tile * 8192 + step * 1024 + to * 16 + part * 4 + (k & 1) * 2;
  *reinterpret_cast<uint16_t*>(p) = high;
  *reinterpret_cast<uint16_t*>(p + 512) = low;
}

// The blocks of a row (blockIdx.y: which of them) write it. scaled(column): what is rounded; normed(column): what floats multiply.
template <class Scaled, class Normed>
CARAT_DEVICE void write_row(const Rounded& out, int row, float factor, Scaled scaled, Normed normed) {
  const int warps = block_threads() / 32 * static_cast<int>(gridDim.y);
  const int lane = lane_index();
  for (int block = static_cast<int>(blockIdx.y) * (block_threads() / 32) + warp_index();
       block < out.chunks * kTileBlocks; block += warps) {
    const int column = block * 32 + lane;
    const bool there = column < out.columns;
    if (out.integers != 0) round_block(out, row, block, there ? scaled(column) : 0.0f);
    if (out.floats != 0) store_float(out, row, column, there ? normed(column) : 0.0f);
  }
  if (thread_index() == 0 && blockIdx.y == 0) out.factors[row] = factor;
}

// RMS norm of a row of `width` values and its rounding: x * weight is rounded, 1 / rms multiplies the product's result.
CARAT_DEVICE void write_normed_row(const Rounded& out, int row, const float* x, const float* weight, int width,
                                   float epsilon, float* scratch) {
  float squares = 0.0f;
  for (int i = thread_index(); i < width; i += kRowThreads) squares = fma_rn(x[i], x[i], squares);
  const float inverse = inverse_rms(block_halves(squares, scratch), width, epsilon);
  write_row(
      out, row, inverse, [&](int i) { return x[i] * weight[i]; }, [&](int i) { return (x[i] * inverse) * weight[i]; });
}

}  // namespace carat::cuda
