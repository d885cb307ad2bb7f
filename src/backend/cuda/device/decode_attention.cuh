// Attention of decode_row: heads, scores and weighted values by some of the blocks, what they leave put together by all.
#pragma once

#include "backend/cuda/device/decode.cuh"

namespace carat::cuda {

// Where the row's sequence keeps its keys and values.
struct DecodeKeys {
  const int32_t* pages;
  int page_count, position, first_key;

  CARAT_METHOD int64_t page(int key) const { return page_of(pages, page_count, key); }
};

// The norms of a layer, wherever they lie.
struct DecodeNorms {
  const float *attn, *post_attn, *ffn, *post_ffn, *q, *k;
};
// Those of the next layer on their way into one of two places; before the first use of the place they are waited for.
struct NormPlaces {
  float* floats;  // null: they stay in global memory
  uint64_t* arrivals;
  int width, head_size;

  CARAT_METHOD void fetch(const DecodeLayer& layer, int index) const {
    if (floats == nullptr) return;
    const float* from[6] = {layer.attn_norm, layer.post_attn_norm, layer.ffn_norm, layer.post_ffn_norm, layer.q_norm, layer.k_norm};
    float* to = floats + index % 2 * decode_norm_floats(width, head_size);
    if constexpr (kBulkCopies) {
      if (thread_index() != 0) return;
      arrival_expect(arrivals + index % 2, static_cast<uint32_t>(decode_norm_floats(width, head_size)) * 4);
    }
    CARAT_UNROLL for (int k = 0; k < 6; ++k) {
      const int count = k < 4 ? width : head_size;
      if constexpr (kBulkCopies) {
        bulk_copy(to, from[k], static_cast<uint32_t>(count) * 4, arrivals + index % 2);
      } else {
        for (int i = thread_index(); i < count; i += kDecodeThreads) to[i] = from[k][i];
      }
      to += count;
    }
  }
  // Where there is no copy engine, a block_barrier since fetch.
  CARAT_METHOD DecodeNorms take(const DecodeLayer& layer, int index) const {
    if (floats == nullptr) {
      return {layer.attn_norm, layer.post_attn_norm, layer.ffn_norm, layer.post_ffn_norm, layer.q_norm, layer.k_norm};
    }
    if constexpr (kBulkCopies) arrival_wait(arrivals + index % 2, static_cast<uint32_t>(index / 2) & 1);
    const float* at = floats + index % 2 * decode_norm_floats(width, head_size);
    return {at, at + width, at + 2 * width, at + 3 * width, at + 4 * width, at + 4 * width + head_size};
  }
};

// The row's heads that read one kv head: q normed, rotated, scaled, then k as it comes back from 16 bits, then v likewise; in
// shared memory [group + 2][E]. A warp for each.
CARAT_DEVICE void decode_heads(const Decode& d, int global, const DecodeNorms& norms, int kv_head, uint32_t epoch) {
  const DecodeParams& p = d.p;
  const int E = p.head_size, half = E / 2, lane = lane_index(), group = p.heads / p.kv_heads;
  const float* cosines = d.cosines + global * half;
  const float* sines = d.sines + global * half;
  for (int head = warp_index(); head < group + 2; head += kDecodeWarps) {
    float* out = d.heads + head * E;
    const int from = head < group ? kv_head * group + head : p.heads + (head - group) * p.kv_heads + kv_head;
    float x[8];  // element lane + 32 k
    CARAT_UNROLL for (int k = 0; k < 8; ++k) x[k] = 0.0f;
    hear<8>(
        x, epoch, [&](int k) { return lane + 32 * k < E; }, [&](int k) { return p.qkv + from * E + lane + 32 * k; });
    if (head == group + 1) {
      CARAT_UNROLL for (int k = 0; k < 8; ++k) {
        if (lane + 32 * k < E) out[lane + 32 * k] = half_to_float(float_to_half(clamp_to_half(x[k])));
      }
      continue;
    }
    const float* weight = head < group ? norms.q : norms.k;
    float partial[4];
    CARAT_UNROLL for (int k = 0; k < 4; ++k) partial[k] = fma_rn(x[k + 4], x[k + 4], fma_rn(x[k], x[k], 0.0f));
    const float inverse = inverse_rms(warp_halves((partial[0] + partial[2]) + (partial[1] + partial[3])), E, p.epsilon);
    CARAT_UNROLL for (int k = 0; k < 8; ++k) {
      const int e = lane + 32 * k;
      if (e < E) out[e] = (x[k] * inverse) * weight[e];
    }
    warp_barrier();
    for (int j = lane; j < half; j += 32) {
      const float a = out[j], b = out[half + j];
      float first = fma_rn(a, cosines[j], -(b * sines[j]));
      float second = fma_rn(b, cosines[j], a * sines[j]);
      if (head < group) {
        first = first * p.query_scale;
        second = second * p.query_scale;
      } else {
        first = half_to_float(float_to_half(clamp_to_half(first)));
        second = half_to_float(float_to_half(clamp_to_half(second)));
      }
      out[j] = first;
      out[half + j] = second;
    }
  }
  block_barrier();
}

CARAT_DEVICE uint32_t halves_of(float low, float high) {
  return float_to_half(low) | static_cast<uint32_t>(float_to_half(high)) << 16;
}

// Scores of 32 keys and one kv head: a warp for a quarter of the head and a query head; a lane is a key. Who has the row's
// own key stores it.
CARAT_DEVICE void decode_scores(const Decode& d, const DecodeLayer& layer, const DecodeNorms& norms, const DecodeKeys& keys,
                                uint32_t epoch) {
  const DecodeParams& p = d.p;
  const int E = p.head_size, lane = lane_index(), warp = warp_index(), group = p.heads / p.kv_heads;
  const int first_block = keys.first_key / 32, blocks = keys.position / 32 - first_block + 1;
  const int tasks = blocks * p.kv_heads, quarter = warp % 4;
  float* quarters = d.part;  // [4 quarters][group][32]
  int known = -1;
  for (int task = static_cast<int>(blockIdx.x); task < tasks; task += static_cast<int>(gridDim.x)) {
    const int kv_head = task / blocks, key = (first_block + task % blocks) * 32 + lane;
    const int64_t page = (keys.page(key) * p.kv_heads + kv_head) * kKeysPerPage * E;
    const uint16_t* from = layer.k_cache + page + key % kKeysPerPage * 8;
    const bool before = key >= keys.first_key && key < keys.position;
    constexpr int kLoads = 8;  // a quarter of 256, in 16 bytes
    Words4 k[kLoads];
    CARAT_UNROLL for (int i = 0; i < kLoads; ++i) {  // before the query is there
      k[i] = {0, 0, 0, 0};
      if (before && i * 8 < E / 4) k[i] = load<Words4>(from + (quarter * (E / 32) + i) * 8 * kKeysPerPage);
    }
    if (known != kv_head) decode_heads(d, layer.global, norms, kv_head, epoch);
    known = kv_head;
    if (key == keys.position) {
      const float* own = d.heads + group * E + quarter * (E / 4);
      CARAT_UNROLL for (int i = 0; i < kLoads; ++i) {
        if (i * 8 < E / 4) {
          const float* at = own + i * 8;
          k[i] = {halves_of(at[0], at[1]), halves_of(at[2], at[3]), halves_of(at[4], at[5]), halves_of(at[6], at[7])};
        }
      }
    }
    for (int head = warp / 4; head < group; head += 4) {
      const float* q = d.heads + head * E + quarter * (E / 4);
      float chain = 0.0f;
      CARAT_UNROLL for (int i = 0; i < kLoads; ++i) {
        if (i * 8 >= E / 4) continue;
        const uint32_t words[4] = {k[i].x, k[i].y, k[i].z, k[i].w};
        CARAT_UNROLL for (int j = 0; j < 4; ++j) {
          chain = fma_rn(half_to_float(static_cast<uint16_t>(words[j])), q[i * 8 + 2 * j], chain);
          chain = fma_rn(half_to_float(static_cast<uint16_t>(words[j] >> 16)), q[i * 8 + 2 * j + 1], chain);
        }
      }
      quarters[(quarter * group + head) * 32 + lane] = chain;
    }
    block_barrier();
    for (int i = thread_index(); i < group * 32; i += kDecodeThreads) {
      const float* c = quarters + i;
      tell(p.scores + static_cast<int64_t>(kv_head * group + i / 32) * p.score_stride + task % blocks * 32 + i % 32,
           ((c[0] + c[group * 32]) + c[2 * group * 32]) + c[3 * group * 32], epoch);
    }
    if (task % blocks == blocks - 1) {
      const int slot = keys.position % kKeysPerPage;
      const int64_t base = (keys.page(keys.position) * p.kv_heads + kv_head) * kKeysPerPage * E;
      for (int e = thread_index(); e < E; e += kDecodeThreads) {
        layer.k_cache[base + (e / 8 * kKeysPerPage + slot) * 8 + e % 8] = float_to_half(d.heads[group * E + e]);
        layer.v_cache[base + static_cast<int64_t>(slot) * E + e] = float_to_half(d.heads[(group + 1) * E + e]);
      }
    }
    block_barrier();
  }
}

// Weighted values of one split and head, 128 columns (or the whole of a smaller head) a task: 8 groups of 32 keys by two
// halves of the columns.
CARAT_DEVICE void decode_values(const Decode& d, const DecodeLayer& layer, const DecodeKeys& keys, int splits, uint32_t epoch) {
  const DecodeParams& p = d.p;
  const int E = p.head_size, lane = lane_index(), warp = warp_index(), thread = thread_index();
  const int pieces = (E + 127) / 128, tasks = p.heads * splits * pieces;
  const int first_split = keys.first_key / kSplit, score_base = keys.first_key / 32 * 32, position = keys.position;
  float* weights = d.part;            // [256]
  float* grouped = d.part + kSplit;   // [8 groups][128]
  const int group = p.heads / p.kv_heads, grid = static_cast<int>(gridDim.x);
  for (int task = grid - 1 - static_cast<int>(blockIdx.x); task < tasks; task += grid) {
    const int piece = task % pieces, split = task / pieces % splits, head = task / pieces / splits;
    const int begin = (first_split + split) * kSplit;
    const int lo = most(keys.first_key, begin) - begin, hi = least(position + 1, begin + kSplit) - begin;
    const int kv_head = head / group;
    // Values first: they take longest to come, and need no score.
    const int column = piece * 128 + warp % 2 * 64 + 2 * lane;
    const int key_group = warp / 2;
    const int group_lo = most(lo, key_group * 32), group_hi = least(hi, key_group * 32 + 32);
    uint32_t v[32] = {};
    if (group_lo < group_hi && column < E) {
      const int64_t page = keys.page(begin + key_group * 32);
      const uint16_t* values =
          layer.v_cache + ((page * p.kv_heads + kv_head) * kKeysPerPage + (begin + key_group * 32) % kKeysPerPage) * E + column;
      CARAT_UNROLL for (int k = 0; k < 32; ++k) {
        const int at = key_group * 32 + k;
        if (at >= group_lo && at < group_hi && begin + at != position) v[k] = load<uint32_t>(values + k * E);
      }
    }
    if (position >= begin + key_group * 32 && position < begin + key_group * 32 + 32) {  // the row's own value
      float own[2] = {0.0f, 0.0f};
      hear<2>(
          own, epoch, [&](int k) { return column + k < E; },
          [&](int k) { return p.qkv + (p.heads + p.kv_heads + kv_head) * E + column + k; });
      const uint32_t word = halves_of(clamp_to_half(own[0]), clamp_to_half(own[1]));
      CARAT_UNROLL for (int k = 0; k < 32; ++k) {
        if (begin + key_group * 32 + k == position) v[k] = word;
      }
    }
    float score = -bits_to_float(0x7f800000u);
    const bool visible = thread >= lo && thread < hi;
    if (warp < kSplit / 32) {
      hear<1>(
          &score, epoch, [&](int) { return visible; },
          [&](int) { return p.scores + static_cast<int64_t>(head) * p.score_stride + begin + thread - score_base; });
    }
    uint32_t top = warp_max(order_of_score(score));
    if (lane == 0) d.scratch[warp] = bits_to_float(top);
    block_barrier();
    top = warp_max(float_bits(d.scratch[lane & 7]));
    const float largest = score_of_order(top);
    if (thread < kSplit) weights[thread] = visible ? exp_exact(score - largest) : 0.0f;
    block_barrier();
    float sum = 0.0f;
    CARAT_UNROLL for (int k = 0; k < kSplit / 32; ++k) sum = sum + weights[lane + 32 * k];
    sum = warp_halves(sum);
    if (column < E) {
      float a = 0.0f, b = 0.0f;
      CARAT_UNROLL for (int k = 0; k < 32; ++k) {  // keys that the row does not see have a weight of 0 and no value
        const float weight = weights[key_group * 32 + k];
        a = fma_rn(weight, half_to_float(static_cast<uint16_t>(v[k])), a);
        b = fma_rn(weight, half_to_float(static_cast<uint16_t>(v[k] >> 16)), b);
      }
      grouped[key_group * 128 + warp % 2 * 64 + 2 * lane] = a;
      grouped[key_group * 128 + warp % 2 * 64 + 2 * lane + 1] = b;
    }
    block_barrier();
    const int64_t part = static_cast<int64_t>(head) * p.split_stride + split;
    if (thread < 128 && piece * 128 + thread < E) {
      float total = grouped[thread];
      CARAT_UNROLL for (int k = 1; k < 8; ++k) total = total + grouped[k * 128 + thread];
      tell(p.values + part * E + piece * 128 + thread, total, epoch);
    }
    if (thread == 0 && piece == 0) {
      tell(p.weights + part * 2, largest, epoch);
      tell(p.weights + part * 2 + 1, sum, epoch);
    }
    block_barrier();
  }
}

// A warp's 32 columns from `i` of the attended row: their head's splits put together in order.
CARAT_DEVICE float combined(const DecodeParams& p, int splits, int i, bool there, uint32_t epoch) {
  const int E = p.head_size, head = i / E, e = i % E;
  const int64_t first = static_cast<int64_t>(head) * p.split_stride;
  float largest = 0.0f, sum = 0.0f, value = 0.0f;
  for (int from = 0; from < splits; from += kFewSplits) {
    float parts[3 * kFewSplits];
    hear<3 * kFewSplits>(
        parts, epoch, [&](int k) { return there && from + k / 3 < splits; },
        [&](int k) {
          const int64_t part = first + from + k / 3;
          return k % 3 == 2 ? p.values + part * E + e : p.weights + part * 2 + k % 3;
        });
    CARAT_UNROLL for (int k = 0; k < kFewSplits; ++k) {
      if (from + k >= splits) break;
      if (from + k == 0) {
        largest = parts[0], sum = parts[1], value = parts[2];
        continue;
      }
      const Rescale r = rescale(largest, parts[3 * k]);
      sum = fma_rn(sum, r.old_factor, parts[3 * k + 1] * r.new_factor);
      value = fma_rn(value, r.old_factor, parts[3 * k + 2] * r.new_factor);
      largest = r.largest;
    }
  }
  return div_rn(value, sum);
}

// What attention left, as the input of attn_out.
CARAT_DEVICE Rounded take_attended(const Decode& d, int splits, uint32_t epoch, int rounded) {
  const DecodeParams& p = d.p;
  const int HE = p.heads * p.head_size, lane = lane_index(), warp = warp_index(), blocks = (HE + 31) / 32;
  const bool few = splits <= kFewSplits;
  if (!few) {  // each block of 32 columns by one warp of all
    const int all = static_cast<int>(gridDim.x) * kDecodeWarps;
    for (int block = warp * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x); block < blocks; block += all) {
      const int i = block * 32 + lane;
      tell(p.attended + i, combined(p, splits, i, i < HE, epoch), epoch);
    }
  }
  const Rounded x = d.input(HE, rounded, false);
  for (int block = warp; block < x.chunks * kTileBlocks; block += kDecodeWarps) {
    const int i = block * 32 + lane;
    float value = 0.0f;
    if (block < blocks) {
      if (few) {
        value = combined(p, splits, i, i < HE, epoch);
      } else {
        hear<1>(
            &value, epoch, [&](int) { return i < HE; }, [&](int) { return p.attended + i; });
      }
    }
    if (i >= HE) value = 0.0f;
    if (x.integers != 0) round_block(x, 0, block, value);
    if (x.floats != 0) x.values[i] = value;
  }
  block_barrier();
  return x;
}

}  // namespace carat::cuda
