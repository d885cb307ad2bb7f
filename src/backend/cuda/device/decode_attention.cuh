// Attention of decode_row. Where the row sees few keys: scores by a block for each head and 32 keys, then each block finishes
// eight columns of a head. Else, or where there are few blocks: values by splits (decode_deep.cuh).
#pragma once

#include "backend/cuda/device/decode.cuh"

namespace carat::cuda {

inline constexpr int kFirstValueWarp = 4, kValueWarps = 5;
inline constexpr int kGroupsEach = kFewGroups / kValueWarps;  // of 32 keys, whose scores they hear at once
inline constexpr int kFewSplits = 4;                          // that kFewGroups are part of, at most
static_assert((kFewGroups + kSplit / 32 - 2) / (kSplit / 32) < kFewSplits && kFewSplits * kValueColumns == 32);
inline constexpr int kWeightsStep = 36;  // floats from 32 keys' weights to the next: other banks
inline constexpr int kScoreWarps = 8;    // for all heads of a kv head

// Where the row's sequence keeps its keys and values.
struct DecodeKeys {
  const int32_t* pages;
  int page_count, position, first_key;
  bool few;

  CARAT_METHOD int64_t page(int key) const { return page_of(pages, page_count, key); }
  CARAT_METHOD int first_group() const { return first_key / 32; }
  CARAT_METHOD int groups() const { return position / 32 - first_group() + 1; }
  CARAT_METHOD int splits() const { return position / kSplit - first_key / kSplit + 1; }
};

CARAT_DEVICE uint32_t halves_of(float low, float high) {
  return float_to_half(low) | static_cast<uint32_t>(float_to_half(high)) << 16;
}

// A warp's head of q or k: normed, rotated, then scaled (q) or as it comes back from 16 bits (k). kHalf: E / 64. A lane has
// both elements of its pairs.
template <int kHalf>
CARAT_DEVICE void rotated_head(const DecodeParams& p, const float* cosines, const float* sines, const float* weight,
                               const uint64_t* words, uint32_t epoch, bool query, float* out) {
  constexpr int kCount = 2 * kHalf;
  const int lane = this_lane();
  float w[kCount], x[kCount];
  CARAT_UNROLL for (int k = 0; k < kCount; ++k) w[k] = weight[lane + 32 * k];
  hear<kCount>(
      x, epoch, [](int) { return true; }, [&](int k) { return words + lane + 32 * k; });
  float partial[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  CARAT_UNROLL for (int k = 0; k < kCount; ++k) partial[k % 4] = fma_rn(x[k], x[k], partial[k % 4]);
  const float inverse =
      inverse_rms(warp_halves((partial[0] + partial[2]) + (partial[1] + partial[3])), 64 * kHalf, p.epsilon);
  CARAT_UNROLL for (int k = 0; k < kHalf; ++k) {
    const float a = (x[k] * inverse) * w[k], b = (x[k + kHalf] * inverse) * w[k + kHalf];
    const float c = cosines[lane + 32 * k], s = sines[lane + 32 * k];
    float first = fma_rn(a, c, -(b * s));
    float second = fma_rn(b, c, a * s);
    if (query) {
      first = first * p.query_scale;
      second = second * p.query_scale;
    } else {
      first = half_to_float(float_to_half(clamp_to_half(first)));
      second = half_to_float(float_to_half(clamp_to_half(second)));
    }
    out[lane + 32 * k] = first;
    out[lane + 32 * (k + kHalf)] = second;
  }
}
template <int kShape>
CARAT_DEVICE void decode_head(const Decode& d, const DecodeLayer& layer, int head, uint32_t epoch, bool query,
                              float* out) {
  const DecodeParams& p = d.p;
  const int E = Sizes<kShape>::head_size(p);
  const float* cosines = d.cosines() + layer.global * E / 2;
  const float* sines = d.sines() + layer.global * E / 2;
  const float* weight = query ? layer.q_norm : layer.k_norm;
  const uint64_t* words = p.qkv + head * E;
  switch (E / 64) {
    case 1:
      return rotated_head<1>(p, cosines, sines, weight, words, epoch, query, out);
    case 2:
      return rotated_head<2>(p, cosines, sines, weight, words, epoch, query, out);
    case 3:
      return rotated_head<3>(p, cosines, sines, weight, words, epoch, query, out);
    default:
      return rotated_head<4>(p, cosines, sines, weight, words, epoch, query, out);
  }
}

// Scores of 32 keys, for one head by four warps (few) or for all heads of a kv head by eight: a warp for a quarter of the head
// and a query head; a lane is a key. The finishers bring the heads, and store the row's own key and value.
template <int kShape, bool kDeep>
struct ScoreTasks {
  using S = Sizes<kShape>;
  const DecodeKeys& keys;
  int at_once, blocks, count;  // heads of a task, groups of 32 keys, tasks

  CARAT_METHOD ScoreTasks(const DecodeParams& p, const DecodeKeys& in_keys)
      : keys(in_keys), at_once(!kDeep || in_keys.few ? 1 : S::heads(p) / S::kv_heads(p)), blocks(in_keys.groups()) {
    count = blocks * (S::heads(p) / at_once);
  }
  CARAT_METHOD int team() const { return !kDeep || keys.few ? 4 : kScoreWarps; }  // warps
  CARAT_METHOD int all() const { return (team() + kFinishers) * 32; }
  CARAT_METHOD int head(int task) const { return task / blocks * at_once; }
  CARAT_METHOD bool has_own(int task) const { return task % blocks == blocks - 1; }
};

template <int kShape, bool kDeep>
CARAT_DEVICE void decode_heads(const Decode& d, const DecodeLayer& layer, const DecodeKeys& keys, uint32_t epoch) {
  const DecodeParams& p = d.p;
  using S = Sizes<kShape>;
  const int E = S::head_size(p), heads = S::heads(p), kv_heads = S::kv_heads(p), group = heads / kv_heads;
  const int lane = this_lane(), warp = this_warp() - kWorkers;
  const ScoreTasks<kShape, kDeep> tasks(p, keys);
  const Round there = d.heads_there(epoch);
  if (static_cast<int>(blockIdx.x) >= tasks.count) return there.done();
  int known = -1;
  CARAT_UNROLL_1 for (int task = static_cast<int>(blockIdx.x); task < tasks.count;
                      task += static_cast<int>(gridDim.x)) {
    const int head0 = tasks.head(task), kv_head = head0 / group;
    const bool has_own = tasks.has_own(task), first = known < 0;
    if (known == head0 && !has_own) continue;
    if (!first) team_meet(kTeamScores, tasks.all());  // those before are read
    known = head0;
    float* own = d.heads() + tasks.at_once * E;  // k, then v
    CARAT_UNROLL_1 for (int i = warp; i < tasks.at_once + 2; i += kFinishers) {
      const bool query = i < tasks.at_once;
      if (query || (has_own && i == tasks.at_once)) {
        decode_head<kShape>(d, layer, query ? head0 + i : heads + kv_head, epoch, query, d.heads() + i * E);
      } else if (has_own) {
        const uint64_t* words = p.qkv + (heads + kv_heads + kv_head) * E + lane;
        float x[8] = {};
        hear<8>(
            x, epoch, [&](int j) { return lane + 32 * j < E; }, [&](int j) { return words + 32 * j; });
        CARAT_UNROLL for (int j = 0; j < 8; ++j) {
          if (lane + 32 * j < E) own[E + lane + 32 * j] = clamp_to_half(x[j]);
        }
      }
    }
    if (first) {
      there.done();
    } else {
      team_meet(kTeamScores, tasks.all());
    }
    if (has_own && head0 % group == 0) {
      const int slot = keys.position % kKeysPerPage;
      const int64_t base = (keys.page(keys.position) * kv_heads + kv_head) * kKeysPerPage * E;
      CARAT_UNROLL_1 for (int e = warp * 32 + lane; e < E; e += kFinishers * 32) {
        layer.k_cache[base + (e / 8 * kKeysPerPage + slot) * 8 + e % 8] = float_to_half(own[e]);
        layer.v_cache[base + static_cast<int64_t>(slot) * E + e] = float_to_half(own[E + e]);
      }
    }
  }
}

template <int kShape, bool kDeep>
CARAT_DEVICE void decode_scores(const Decode& d, const DecodeLayer& layer, const DecodeKeys& keys, uint32_t epoch) {
  const DecodeParams& p = d.p;
  using S = Sizes<kShape>;
  const int E = S::head_size(p), kv_heads = S::kv_heads(p), group = S::heads(p) / kv_heads;
  const int lane = this_lane(), warp = this_warp();
  const ScoreTasks<kShape, kDeep> tasks(p, keys);
  const int at_once = tasks.at_once, team = tasks.team();
  if (warp >= team) return;
  const int quarter = warp % 4;
  float* const quarters = in_shared<float>(p.layout.attention);
  int known = -1;
  CARAT_UNROLL_1 for (int task = static_cast<int>(blockIdx.x); task < tasks.count;
                      task += static_cast<int>(gridDim.x)) {
    const int head0 = tasks.head(task), key = (keys.first_group() + task % tasks.blocks) * 32 + lane;
    const uint16_t* from = layer.k_cache + (keys.page(key) * kv_heads + head0 / group) * kKeysPerPage * E +
                           key % kKeysPerPage * 8 + quarter * (E / 32) * 8 * kKeysPerPage;
    const bool before = key >= keys.first_key && key < keys.position;
    constexpr int kLoads = 8;  // a quarter of 256, in 16 bytes
    Words4 k[kLoads];
    CARAT_UNROLL for (int i = 0; i < kLoads; ++i) {  // before the query is there
      k[i] = {0, 0, 0, 0};
      if (before && i * 8 < E / 4) k[i] = load<Words4>(from + i * 8 * kKeysPerPage);
    }
    float key_values[kDeep ? 1 : kLoads * 8];  // of one head alone they are floats before the query is there
    if constexpr (!kDeep) {
      CARAT_UNROLL for (int i = 0; i < kLoads; ++i) {
        const uint32_t words[4] = {k[i].x, k[i].y, k[i].z, k[i].w};
        CARAT_UNROLL for (int j = 0; j < 4; ++j) {
          key_values[i * 8 + 2 * j] = half_to_float(static_cast<uint16_t>(words[j]));
          key_values[i * 8 + 2 * j + 1] = half_to_float(static_cast<uint16_t>(words[j] >> 16));
        }
      }
    }
    if (known != head0 || tasks.has_own(task)) {
      if (known < 0) {
        d.heads_there(epoch).wait();
      } else {
        team_meet(kTeamScores, tasks.all());
        team_meet(kTeamScores, tasks.all());
      }
      known = head0;
    }
    if (key == keys.position) {
      const float* mine = d.heads() + at_once * E + quarter * (E / 4);
      CARAT_UNROLL for (int i = 0; i < kLoads; ++i) {
        if (i * 8 < E / 4) {
          const float* at = mine + i * 8;
          if constexpr (!kDeep) {
            CARAT_UNROLL for (int j = 0; j < 8; ++j) key_values[i * 8 + j] = at[j];
            continue;
          }
          k[i] = {halves_of(at[0], at[1]), halves_of(at[2], at[3]), halves_of(at[4], at[5]), halves_of(at[6], at[7])};
        }
        keep_order();
      }
    }
    CARAT_UNROLL_1 for (int head = warp / 4; head < at_once; head += team / 4) {
      const float* q = d.heads() + head * E + quarter * (E / 4);
      float chain = 0.0f;
      CARAT_UNROLL for (int i = 0; i < kLoads; ++i) {
        if (i * 8 >= E / 4) continue;
        if constexpr (!kDeep) {
          CARAT_UNROLL for (int j = 0; j < 8; j += 4) {
            const FourFloats four = floats_at(q + i * 8 + j);
            CARAT_UNROLL for (int e = 0; e < 4; ++e) chain = fma_rn(key_values[i * 8 + j + e], four.of[e], chain);
          }
          continue;
        }
        const auto anew = [](uint32_t word) { return static_cast<uint32_t>(fresh(static_cast<int>(word))); };
        const uint32_t words[4] = {anew(k[i].x), anew(k[i].y), anew(k[i].z),
                                   anew(k[i].w)};  // not floats before the loop
        const Words4 q0 = load<Words4>(q + i * 8), q1 = load<Words4>(q + i * 8 + 4);
        const uint32_t qs[8] = {q0.x, q0.y, q0.z, q0.w, q1.x, q1.y, q1.z, q1.w};
        CARAT_UNROLL for (int j = 0; j < 4; ++j) {
          chain = fma_rn(half_to_float(static_cast<uint16_t>(words[j])), bits_to_float(qs[2 * j]), chain);
          chain = fma_rn(half_to_float(static_cast<uint16_t>(words[j] >> 16)), bits_to_float(qs[2 * j + 1]), chain);
        }
        if (i % 4 == 3) keep_order();
      }
      quarters[(quarter * at_once + head) * 32 + lane] = chain;
    }
    team_barrier(kTeamQuarters, team * 32);
    for (int i = this_thread(); i < at_once * 32; i += team * 32) {
      const float* c = quarters + i;
      tell(p.scores + static_cast<int64_t>(head0 + i / 32) * p.score_stride + task % tasks.blocks * 32 + i % 32,
           ((c[0] + c[at_once * 32]) + c[2 * at_once * 32]) + c[3 * at_once * 32], epoch);
    }
    if (task + static_cast<int>(gridDim.x) < tasks.count) team_barrier(kTeamQuarters, team * 32);
  }
}

// Eight columns of a head, all keys: by five warps.
struct ValueMemory {
  const DecodeParams& p;
  CARAT_METHOD float* weights() const {
    return in_shared<float>(p.layout.attention + kQuartersBytes);
  }  // [kFewGroups][kWeightsStep], of 32 keys
  CARAT_METHOD float* grouped() const { return weights() + kFewGroups * kWeightsStep; }  // [kFewGroups][8]
  CARAT_METHOD float* largest() const { return grouped() + kFewGroups * 8; }             // [16], of splits
  CARAT_METHOD float* sums() const { return largest() + 16; }
  CARAT_METHOD uint32_t* tops() const { return reinterpret_cast<uint32_t*>(sums() + 16); }  // [kFewGroups]
  CARAT_METHOD uint8_t* values() const {
    return shared_memory() + p.layout.attention + kQuartersBytes + kFewWeightsBytes;
  }  // [kFewGroups][32 keys][16 bytes], 16 bytes between groups
};
inline constexpr int kValueGroupBytes = 32 * 16 + 16;
static_assert(kFewGroups * kValueGroupBytes == kFewValuesBytes, "their place");
template <int kShape>
CARAT_DEVICE void decode_few_values(const Decode& d, const DecodeLayer& layer, const DecodeKeys& keys, uint32_t epoch) {
  const ValueMemory m{d.p};
  const DecodeParams& p = d.p;
  using S = Sizes<kShape>;
  const int E = S::head_size(p), heads = S::heads(p), kv_heads = S::kv_heads(p);
  const int lane = this_lane(), team_warp = this_warp() - kFirstValueWarp;
  if (team_warp < 0 || team_warp >= kValueWarps) return;
  constexpr int kTeam = kValueWarps * 32;
  const int group = heads / kv_heads, pieces = E / kValueColumns, grid = static_cast<int>(gridDim.x);
  const int first_group = keys.first_group(), groups = keys.groups(), position = keys.position;
  const int first_split = keys.first_key / kSplit, splits = keys.splits();
  CARAT_UNROLL_1 for (int task = grid - 1 - static_cast<int>(blockIdx.x); task < heads * pieces; task += grid) {
    const int head = task / pieces, kv_head = head / group, column0 = task % pieces * kValueColumns;
    // A lane's keys: one of each fifth group. Their values first: they need no score.
    Words4 v[kGroupsEach];
    float score[kGroupsEach] = {};
    bool visible[kGroupsEach];
    CARAT_UNROLL for (int i = 0; i < kGroupsEach; ++i) {
      const int key = (first_group + team_warp + i * kValueWarps) * 32 + lane;
      visible[i] = key >= keys.first_key && key <= position;
      v[i] = {0, 0, 0, 0};
      if (visible[i] && key != position) {
        v[i] = load<Words4>(layer.v_cache +
                            ((keys.page(key) * kv_heads + kv_head) * kKeysPerPage + key % kKeysPerPage) * E + column0);
      }
    }
    // The row's own value, by the warp that has its key.
    if (team_warp == (position / 32 - first_group) % kValueWarps) {
      float own[kValueColumns];
      hear<kValueColumns>(
          own, epoch, [](int) { return true; },
          [&](int k) { return p.qkv + (heads + kv_heads + kv_head) * E + column0 + k; });
      CARAT_UNROLL for (int k = 0; k < kValueColumns; ++k) own[k] = clamp_to_half(own[k]);
      const Words4 halves{halves_of(own[0], own[1]), halves_of(own[2], own[3]), halves_of(own[4], own[5]),
                          halves_of(own[6], own[7])};
      CARAT_UNROLL for (int i = 0; i < kGroupsEach; ++i) {
        if ((first_group + team_warp + i * kValueWarps) * 32 + lane == position) v[i] = halves;
      }
    }
    CARAT_UNROLL for (int i = 0; i < kGroupsEach; ++i) {
      *reinterpret_cast<Words4*>(m.values() + (team_warp + i * kValueWarps) * kValueGroupBytes + lane * 16) = v[i];
    }
    hear<kGroupsEach>(
        score, epoch, [&](int i) { return visible[i]; },
        [&](int i) {
          return p.scores + static_cast<int64_t>(head) * p.score_stride + (team_warp + i * kValueWarps) * 32 + lane;
        });
    CARAT_UNROLL for (int i = 0; i < kGroupsEach; ++i) {
      const uint32_t top = warp_max(order_of_score(visible[i] ? score[i] : -bits_to_float(0x7f800000u)));
      if (lane == 0) m.tops()[team_warp + i * kValueWarps] = top;
    }
    team_barrier(kTeamValues, kTeam);
    CARAT_UNROLL for (int i = 0; i < kGroupsEach; ++i) {
      const int at = team_warp + i * kValueWarps;
      if (at >= groups) continue;
      const int split = (first_group + at) / (kSplit / 32), other = split * (kSplit / 32) + (lane & 7) - first_group;
      const uint32_t top = warp_max(other >= 0 && other < groups ? m.tops()[other] : 0);
      const float largest = score_of_order(top);
      m.weights()[at * kWeightsStep + lane] = visible[i] ? exp_exact(score[i] - largest) : 0.0f;
      if (lane == 0) m.largest()[split - first_split] = largest;
    }
    team_barrier(kTeamValues, kTeam);
    // A lane has one column of one group of 32 keys.
    const int mine = team_warp * 4 + lane / kValueColumns;
    if (mine < groups) {
      const float* weights = m.weights() + mine * kWeightsStep;
      const auto* of_column =
          reinterpret_cast<const uint16_t*>(m.values() + mine * kValueGroupBytes) + lane % kValueColumns;
      float chain = 0.0f;
      CARAT_UNROLL for (int k = 0; k < 32; k += 4) {  // keys that the row does not see have a weight of 0 and no value
        const FourFloats four = floats_at(weights + k);
        CARAT_UNROLL for (int i = 0; i < 4; ++i) {
          chain = fma_rn(four.of[i], half_to_float(of_column[(k + i) * 8]), chain);
        }
      }
      m.grouped()[mine * kValueColumns + lane % kValueColumns] = chain;
    }
    for (int split = kValueWarps - 1 - team_warp; split < splits; split += kValueWarps) {
      float sum = 0.0f;
      CARAT_UNROLL for (int k = 0; k < kSplit / 32; ++k) {
        const int at = (first_split + split) * (kSplit / 32) + k - first_group;
        sum = sum + (at >= 0 && at < groups ? m.weights()[at * kWeightsStep + lane] : 0.0f);
      }
      sum = warp_halves(sum);
      if (lane == 0) m.sums()[split] = sum;
    }
    team_barrier(kTeamValues, kTeam);
    if (team_warp == 0) {
      // A lane has a column of a split, of which there are four at most; then they are put together in order.
      const int split = lane / kValueColumns, column = lane % kValueColumns;
      float total = 0.0f;
      CARAT_UNROLL for (int k = 0; k < kSplit / 32; ++k) {
        const int at = (first_split + split) * (kSplit / 32) + k - first_group;
        const float grouped = at >= 0 && at < groups ? m.grouped()[at * kValueColumns + column] : 0.0f;
        total = k == 0 ? grouped : total + grouped;
      }
      float value = from_lane(total, column), sum = m.sums()[0];
      if (splits > 1) {
        float top = m.largest()[0], own_top = top, before = top, largest = top;
        CARAT_UNROLL for (int s = 1; s < kFewSplits; ++s) {
          if (s >= splits) continue;
          const float of_split = m.largest()[s], next = of_split > top ? of_split : top;
          if (split == s) before = top, own_top = next, largest = of_split;
          top = next;
        }
        const float old_factor = exp_exact(before - own_top), new_factor = exp_exact(largest - own_top);
        const float of_value = total * new_factor, of_sum = split < splits ? m.sums()[split] * new_factor : 0.0f;
        CARAT_UNROLL for (int s = 1; s < kFewSplits; ++s) {
          const int from = s * kValueColumns + column;
          const float old = from_lane(old_factor, from), more = from_lane(of_value, from),
                      added = from_lane(of_sum, from);
          if (s >= splits) continue;
          value = fma_rn(value, old, more);
          sum = fma_rn(sum, old, added);
        }
      }
      if (lane < kValueColumns) tell(p.attended + head * E + column0 + lane, div_rn(value, sum), epoch);
    }
    if (task + grid < heads * pieces) team_barrier(kTeamValues, kTeam);
  }
}

}  // namespace carat::cuda
