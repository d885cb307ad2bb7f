// Attention of decode_row where a row sees many keys, or where there are few blocks: a block takes a split of 256 keys and 128
// columns of a kv head for all heads that read it; then splits are put together by a warp for each 32 columns.
#pragma once

#include "backend/cuda/device/decode_attention.cuh"

namespace carat::cuda {

inline constexpr int kMostHeads = 4, kDeepWarps = 8;  // of a kv head; that work

// In shared memory: [heads][256] weights, [heads][8 groups][128] values, what the largest scores are. A warp has a group of 32
// keys, a lane four columns.
template <int kShape>
CARAT_DEVICE void decode_deep_values(const Decode& d, const DecodeLayer& layer, const DecodeKeys& keys,
                                     uint32_t epoch) {
  const DecodeParams& p = d.p;
  using S = Sizes<kShape>;
  const int E = S::head_size(p), heads = S::heads(p), kv_heads = S::kv_heads(p);
  const int lane = this_lane(), warp = this_warp(), thread = this_thread();
  if (warp >= kDeepWarps) return;
  constexpr int kTeam = kDeepWarps * 32;
  const int group = heads / kv_heads, grid = static_cast<int>(gridDim.x);
  const int pieces = (E + 127) / 128, splits = keys.splits(), tasks = kv_heads * splits * pieces;
  const int first_split = keys.first_key / kSplit, score_base = keys.first_group() * 32, position = keys.position;
  float* weights = in_shared<float>(p.layout.attention + kQuartersBytes);
  float* grouped = weights + group * kSplit;
  auto* tops = in_shared<uint32_t>(p.layout.attention + kQuartersBytes + group * kValuesBytes);
  const int key_group = warp;
  CARAT_UNROLL_1 for (int task = grid - 1 - static_cast<int>(blockIdx.x); task < tasks; task += grid) {
    const int piece = task % pieces, split = task / pieces % splits, kv_head = task / pieces / splits;
    const int begin = (first_split + split) * kSplit;
    const int lo = most(keys.first_key, begin) - begin, hi = least(position + 1, begin + kSplit) - begin;
    // Values first: they take longest to come, and need no score.
    const int column = piece * 128 + 4 * lane;
    const int group_lo = most(lo, key_group * 32), group_hi = least(hi, key_group * 32 + 32);
    uint64_t v[32] = {};
    if (group_lo < group_hi && column < E) {
      const int64_t page = keys.page(begin + key_group * 32);
      const uint16_t* values =
          layer.v_cache + ((page * kv_heads + kv_head) * kKeysPerPage + (begin + key_group * 32) % kKeysPerPage) * E +
          column;
      // All of the page's, then those that the row does not see are taken back: one address, no condition a key.
      CARAT_UNROLL for (int k = 0; k < 32; ++k) v[k] = load<uint64_t>(values + k * E);
      const uint32_t seen = ~0u << (group_lo - key_group * 32) & ~0u >> (key_group * 32 + 32 - group_hi);
      if (seen != ~0u) {
        CARAT_UNROLL for (int k = 0; k < 32; ++k) {
          if ((seen >> k & 1) == 0) v[k] = 0;
        }
      }
    }
    if (position >= begin + key_group * 32 && position < begin + key_group * 32 + 32) {  // the row's own value
      float own[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      hear<4>(
          own, epoch, [&](int k) { return column + k < E; },
          [&](int k) { return p.qkv + (heads + kv_heads + kv_head) * E + column + k; });
      const uint64_t word = static_cast<uint64_t>(halves_of(clamp_to_half(own[2]), clamp_to_half(own[3]))) << 32 |
                            halves_of(clamp_to_half(own[0]), clamp_to_half(own[1]));
      CARAT_UNROLL for (int k = 0; k < 32; ++k) {
        if (begin + key_group * 32 + k == position) v[k] = word;
      }
    }
    const bool visible = thread >= lo && thread < hi;
    float score[kMostHeads] = {};
    if (warp < kSplit / 32) {
      hear<kMostHeads>(
          score, epoch, [&](int h) { return visible && h < group; },
          [&](int h) {
            return p.scores + static_cast<int64_t>(kv_head * group + h) * p.score_stride + begin + thread - score_base;
          });
      CARAT_UNROLL for (int h = 0; h < kMostHeads; ++h) {
        const uint32_t top = warp_max(order_of_score(visible ? score[h] : -bits_to_float(0x7f800000u)));
        if (lane == 0) tops[h * 8 + warp] = top;
      }
    }
    team_barrier(kTeamValues, kTeam);
    if (warp < kSplit / 32) {
      CARAT_UNROLL for (int h = 0; h < kMostHeads; ++h) {
        const float largest = score_of_order(warp_max(tops[h * 8 + (lane & 7)]));
        if (h < group) weights[h * kSplit + thread] = visible ? exp_exact(score[h] - largest) : 0.0f;
      }
    }
    team_barrier(kTeamValues, kTeam);
    const int64_t part = static_cast<int64_t>(kv_head) * group * p.split_stride + split;
    if (piece == 0 && warp < group) {
      const float largest = score_of_order(warp_max(tops[warp * 8 + (lane & 7)]));
      float sum = 0.0f;
      CARAT_UNROLL for (int k = 0; k < kSplit / 32; ++k) sum = sum + weights[warp * kSplit + lane + 32 * k];
      sum = warp_halves(sum);
      if (lane == 0) {
        tell(p.weights + (part + static_cast<int64_t>(warp) * p.split_stride) * 2, largest, epoch);
        tell(p.weights + (part + static_cast<int64_t>(warp) * p.split_stride) * 2 + 1, sum, epoch);
      }
    }
    if (column < E) {
      CARAT_UNROLL_1 for (int h = 0; h < group; ++h) {
        const float* of_head = weights + h * kSplit + key_group * 32;
        float chain[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        CARAT_UNROLL for (int k = 0; k < 32; ++k) {  // keys that the row does not see have a weight of 0 and no value
          const float weight = of_head[k];
          // Fresh, or all of them become floats before the loop over the heads: 128 registers.
          const auto low = static_cast<uint32_t>(fresh(static_cast<int>(v[k]))),
                     high = static_cast<uint32_t>(fresh(static_cast<int>(v[k] >> 32)));
          CARAT_UNROLL for (int c = 0; c < 4; ++c) {
            const uint32_t pair = c < 2 ? low : high;
            chain[c] = fma_rn(weight, half_to_float(static_cast<uint16_t>(pair >> (16 * (c % 2)))), chain[c]);
          }
        }
        float* to = grouped + (h * 8 + key_group) * 128 + 4 * lane;
        CARAT_UNROLL for (int c = 0; c < 4; ++c) to[c] = chain[c];
      }
    }
    team_barrier(kTeamValues, kTeam);
    for (int i = thread; i < group * 128; i += kTeam) {
      const int h = i / 128, at = i % 128;
      if (piece * 128 + at >= E) continue;
      const float* from = grouped + h * 8 * 128 + at;
      float total = from[0];
      CARAT_UNROLL for (int k = 1; k < 8; ++k) total = total + from[k * 128];
      tell(p.values + (part + static_cast<int64_t>(h) * p.split_stride) * E + piece * 128 + at, total, epoch);
    }
    if (task + grid < tasks) team_barrier(kTeamValues, kTeam);
  }
}

// A warp's 32 columns from `i` of the attended row: their head's splits put together in order. A lane has the factors of a
// split; each column's chain goes over them.
inline constexpr int kSplitsAtOnce = 16;
template <int kShape>
CARAT_DEVICE float combined(const DecodeParams& p, int splits, int i, uint32_t epoch) {
  const int E = Sizes<kShape>::head_size(p), head = i / E, e = i % E, lane = this_lane();
  const int64_t first = static_cast<int64_t>(head) * p.split_stride;
  float largest = 0.0f, sum = 0.0f, value = 0.0f;
  CARAT_UNROLL_1 for (int from = 0; from < splits; from += 32) {
    float of_split[2] = {0.0f, 0.0f};
    hear<2>(
        of_split, epoch, [&](int) { return from + lane < splits; },
        [&](int k) { return p.weights + (first + from + lane) * 2 + k; });
    const uint64_t* of_first = p.values + (first + from) * E + e;
    float top = of_split[0];  // the largest of all splits up to this lane's
    if (from != 0) top = top > largest ? top : largest;
    CARAT_UNROLL for (int step = 1; step < 32; step *= 2) {
      const float below = from_lane_below(top, step);
      top = lane >= step && !(top > below) ? below : top;
    }
    float before = from_lane_below(top, 1);
    if (lane == 0) before = from == 0 ? top : largest;
    const float old_factor = exp_exact(before - top), new_factor = exp_exact(of_split[0] - top);
    CARAT_UNROLL_1 for (int some = from; some < least(from + 32, splits); some += kSplitsAtOnce) {
      float values[kSplitsAtOnce];
      hear<kSplitsAtOnce>(
          values, epoch, [&](int k) { return some + k < splits; },
          [&](int k) { return of_first + (some - from + k) * E; });
      CARAT_UNROLL for (int k = 0; k < kSplitsAtOnce; ++k) {
        if (some + k >= splits) break;
        const int at = some - from + k;
        const float of_old = from_lane(old_factor, at), of_new = from_lane(new_factor, at),
                    split_sum = from_lane(of_split[1], at);
        sum = some + k == 0 ? split_sum : fma_rn(sum, of_old, split_sum * of_new);
        value = some + k == 0 ? values[k] : fma_rn(value, of_old, values[k] * of_new);
      }
    }
    largest = from_lane(top, least(31, splits - 1 - from));
  }
  return div_rn(value, sum);
}

// Each 32 columns by one warp of all blocks. Heads are multiples of 32 columns.
template <int kShape>
CARAT_DEVICE void decode_combine(const DecodeParams& p, const DecodeKeys& keys, uint32_t epoch) {
  const int columns = Sizes<kShape>::heads(p) * Sizes<kShape>::head_size(p), grid = static_cast<int>(gridDim.x);
  for (int at = (this_warp() * grid + static_cast<int>(blockIdx.x)) * 32; at < columns; at += grid * kWorkerThreads) {
    const int i = at + this_lane();
    tell(p.attended + i, combined<kShape>(p, keys.splits(), i, epoch), epoch);
  }
}

}  // namespace carat::cuda
