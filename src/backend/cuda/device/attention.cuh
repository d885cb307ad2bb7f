// What the kernels of attention share: which keys a row sees, and how the splits of a row are put together. Splits are 256
// keys at multiples of 256, whatever the row, batch or chunk. Inside a split
//   score   four chains over quarters of the head, ((c0 + c1) + c2) + c3
//   weights max (NaN stays NaN), exp, 32 partial sums (key % 32), halves
//   values  groups of 32 keys, a chain each, added in order
// and between splits the usual rescaling, in order of position.
#pragma once

#include "backend/cuda/device/rounding.cuh"

namespace carat::cuda {

CARAT_DEVICE int first_key(const AttentionParams& p, int position) {
  return p.global != 0 ? 0 : most(0, position - p.window + 1);
}

// What the rows of a tile see together (start to end), and what every one of them does (all_from to all_until). By a warp.
struct TileSight {
  int start, end, all_from, all_until;
};
CARAT_DEVICE TileSight sight_of(const AttentionParams& p, int first_row, int count, int lane) {
  const RowInfo info = p.rows[first_row], last = p.rows[first_row + count - 1];
  const int start = first_key(p, info.position), all_from = first_key(p, last.position);
  int end = 0, all_until = info.sees_until;
  for (int i = lane; i < count; i += 32) {
    const int sees = p.rows[first_row + i].sees_until;
    end = most(end, sees), all_until = least(all_until, sees);
  }
  end = static_cast<int>(warp_max(static_cast<uint32_t>(end)));
  all_until = static_cast<int>(~warp_max(~static_cast<uint32_t>(all_until)));
  return {start, end, all_from, all_until};
}

// Scores as integers whose order is the floats'; a NaN is the largest of all.
CARAT_DEVICE uint32_t order_of_score(float score) {
  const uint32_t bits = float_bits(score);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return nan ? ~0u : (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
CARAT_DEVICE float score_of_order(uint32_t order) {
  const uint32_t bits = (order >> 31) != 0 ? order & 0x7fffffffu : ~order;
  return bits_to_float(order == ~0u ? 0x7fc00000u : bits);
}

// How a split is put to those before it: value = fma(value, old_factor, split's value * new_factor), sums alike.
struct Rescale {
  float largest, old_factor, new_factor;
};
CARAT_DEVICE Rescale rescale(float largest, float split_largest) {
  const float top = split_largest > largest ? split_largest : largest;
  return {top, exp_exact(largest - top), exp_exact(split_largest - top)};
}

// Keys [lo, hi) that row sees of a split; scores and weights relative to the split's begin.
struct Seen {
  int lo, hi;
};
CARAT_DEVICE Seen seen_of(const AttentionParams& p, const RowInfo& info, int split) {
  const int begin = split * kSplit;
  const int lo = most(first_key(p, info.position), begin) - begin;
  const int hi = least(info.sees_until + 1, begin + kSplit) - begin;
  return {lo, hi};
}

// What is combined of a row's splits so far, in the column that a thread holds.
struct Running {
  float largest, sum, value;
  bool empty;

  CARAT_METHOD void add(float split_largest, float split_sum, float split_value) {
    if (empty) {
      largest = split_largest;
      sum = split_sum;
      value = split_value;
      empty = false;
      return;
    }
    const Rescale r = rescale(largest, split_largest);
    sum = fma_rn(sum, r.old_factor, split_sum * r.new_factor);
    value = fma_rn(value, r.old_factor, split_value * r.new_factor);
    largest = r.largest;
  }
};

// What a row's column comes to; a warp has a block of 32 of them.
CARAT_DEVICE void attended(const AttentionParams& p, int row, int column, float value) {
  if (p.round == 0) {
    p.out[static_cast<int64_t>(row) * p.heads * p.head_size + column] = value;
    return;
  }
  if (p.rounded.integers != 0) round_block(p.rounded, row, column / 32, value);
  if (p.rounded.floats != 0) store_float(p.rounded, row, column, value);
  if (column == 0) p.rounded.factors[row] = 1.0f;
}

// A split by a block of 256 threads for kGroup query heads of a kv head: a thread is a key, then a warp 32 keys and a lane eight
// columns, then a thread a column.
//   The weights of this thread's key, [256][kGroup], and what they are relative to; their sums are there behind the next barrier.
template <int kGroup>
CARAT_DEVICE void weigh_split(const float* score, bool visible, float* tops, float* weights, float* sums, float* largest, int i,
                              int lane, int warp) {
  CARAT_UNROLL for (int h = 0; h < kGroup; ++h) {
    const uint32_t top = warp_max(order_of_score(score[h]));
    if (lane == 0) tops[h * 8 + warp] = bits_to_float(top);
  }
  block_barrier();
  CARAT_UNROLL for (int h = 0; h < kGroup; ++h) {
    largest[h] = score_of_order(warp_max(float_bits(tops[h * 8 + (lane & 7)])));
    weights[i * kGroup + h] = visible ? exp_exact(score[h] - largest[h]) : 0.0f;
  }
  block_barrier();
  if (warp < kGroup) {
    float sum = 0.0f;
    CARAT_UNROLL for (int k = 0; k < kSplit / 32; ++k) sum = sum + weights[(lane + 32 * k) * kGroup + warp];
    sum = warp_halves(sum);
    if (lane == 0) sums[warp] = sum;
  }
}
// Eight columns of a key's value, weighed, to those of the keys before.
template <int kGroup>
CARAT_DEVICE void add_weighed(const Words4& v, const float* weights, float (*a)[8]) {
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
  float value[8];
  CARAT_UNROLL for (int j = 0; j < 4; ++j) {
    value[2 * j] = half_to_float(static_cast<uint16_t>(words[j]));
    value[2 * j + 1] = half_to_float(static_cast<uint16_t>(words[j] >> 16));
  }
  CARAT_UNROLL for (int h = 0; h < kGroup; ++h) {
    const float weight = weights[h];
    CARAT_UNROLL for (int e = 0; e < 8; ++e) a[h][e] = fma_rn(weight, value[e], a[h][e]);
  }
}
// A warp's 32 keys to their place, [8 groups][kGroup][E]; then all eight of this thread's column, to the splits before.
template <int kGroup>
CARAT_DEVICE void put_group(float* to, int E, const float (*a)[8]) {
  CARAT_UNROLL for (int h = 0; h < kGroup; ++h) {
    CARAT_UNROLL for (int e = 0; e < 8; e += 4) {
      *reinterpret_cast<Words4*>(to + h * E + e) = {float_bits(a[h][e]), float_bits(a[h][e + 1]), float_bits(a[h][e + 2]),
                                                    float_bits(a[h][e + 3])};
    }
  }
}
template <int kGroup>
CARAT_DEVICE void add_groups(const float* grouped, int E, const float* largest, const float* sums, Running* running, int i) {
  CARAT_UNROLL for (int h = 0; h < kGroup; ++h) {
    float total = grouped[h * E + i];
    CARAT_UNROLL for (int k = 1; k < 8; ++k) total = total + grouped[(k * kGroup + h) * E + i];
    running[h].add(largest[h], sums[h], total);
  }
}

}  // namespace carat::cuda
