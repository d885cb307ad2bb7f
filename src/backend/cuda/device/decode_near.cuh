// Attention of decode_row where the row sees the first keys of its sequence and no more than kNearKeys: a block that finishes eight columns of
// a head scores all keys for that head itself, and keeps scores and weights in its shared memory. So blocks tell each other no
// scores: an exchange of the layer less. Keys are read by every block, 64 KB at most, while the query is not there yet.
//   Scores: a worker has a quarter of the head and the groups of 32 keys w / 4 and w / 4 + 2, a lane is a key; the row's own key is
// another worker's. Then one worker has the eight columns: a lane is a column of a group of keys, its values wait in registers.
#pragma once

#include "backend/cuda/device/decode_attention.cuh"

namespace carat::cuda {

inline constexpr int kNearGroups = kNearKeys / 32;
inline constexpr int kNearScoreWarps = 8, kNearOwnWarp = 8, kNearValueWarp = 9;
inline constexpr int kNearScoreTeam = (kNearScoreWarps + 2) * 32;  // who writes scores, who reads them
inline constexpr int kNearEarly = 4;                               // of eight loads of a lane
inline constexpr int kNearTurns = 2;                               // of a block, see decode_few_keys
static_assert(kNearGroups == 4 && kNearKeys <= kSplit && kNearGroups * kValueColumns == 32);

template <int kShape>
struct DecodeNear {
  static_assert(kShape == 1, "four heads of 256, one that has keys");
  using S = Sizes<kShape>;
  const Decode& d;
  const DecodeLayer& layer;
  int position;
  uint32_t epoch;

  CARAT_METHOD int head_size() const { return S::head_size(d.p); }
  CARAT_METHOD int quarter_size() const { return head_size() / 4; }
  CARAT_METHOD int pieces() const { return head_size() / kValueColumns; }
  CARAT_METHOD int tasks() const { return S::heads(d.p) * pieces(); }
  CARAT_METHOD static int grid() { return static_cast<int>(gridDim.x); }
  // Of a block: grid - 1 - block, then `grid` further on.
  CARAT_METHOD static int first_task() { return grid() - 1 - static_cast<int>(blockIdx.x); }
  // In shared memory, of each turn: the query, quarters of scores, weights; the own key.
  CARAT_METHOD float* query(int turn) const { return d.heads() + turn * head_size(); }
  CARAT_METHOD float* key() const { return query(kNearTurns); }
  CARAT_METHOD float* quarters(int turn) const {  // [4][kNearGroups][32]
    return in_shared<float>(d.p.layout.attention) + turn * 4 * kNearKeys;
  }
  CARAT_METHOD float* weights(int turn) const {
    return quarters(kNearTurns) + turn * kNearGroups * kWeightsStep;
  }  // [kNearGroups][kWeightsStep]
  CARAT_METHOD int64_t page(int group) const { return d.p.near_pages[layer.global][group / (kKeysPerPage / 32)]; }

  // The finishers': the queries, and the own key; the first block stores it, and the own value.
  CARAT_METHOD void heads() const {
    const DecodeParams& p = d.p;
    const int warp = this_warp() - kWorkers, lane = this_lane(), task = first_task() + warp / 2 * grid();
    const bool has_tasks = first_task() < tasks(), stores = blockIdx.x == 0, of_query = warp % 2 == 0;
    if (of_query ? task < tasks() : warp == 1 && (has_tasks || stores)) {
      decode_head<kShape>(d, layer, of_query ? task / pieces() : S::heads(p), epoch, of_query,
                          of_query ? query(warp / 2) : key());
    }
    d.heads_there(epoch).done();
    if (!stores || of_query) return;
    const int E = head_size(), slot = position % kKeysPerPage;
    const int64_t base = page(position / 32) * kKeysPerPage * E;
    if (warp == 1) {
      warp_barrier();
      CARAT_UNROLL_1 for (int e = lane; e < E; e += 32) {
        layer.k_cache[base + (e / 8 * kKeysPerPage + slot) * 8 + e % 8] = float_to_half(key()[e]);
      }
      return;
    }
    constexpr int kEach = 8;
    float value[kEach];
    const uint64_t* words = p.qkv + (S::heads(p) + 1) * E + lane;
    hear<kEach>(
        value, epoch, [](int) { return true; }, [&](int k) { return words + 32 * k; });
    CARAT_UNROLL for (int k = 0; k < kEach; ++k) {
      layer.v_cache[base + static_cast<int64_t>(slot) * E + lane + 32 * k] = float_to_half(clamp_to_half(value[k]));
    }
  }

  // The workers'.
  CARAT_METHOD void attend() const {
    const int warp = this_warp();
    if (warp > kNearValueWarp || first_task() >= tasks()) return;
    if (warp == kNearValueWarp) return values();
    if (warp == kNearOwnWarp) return own_score();
    const int group = warp / 4;
    if ((group + 2) * 32 < position) {
      scores<true>(group);
    } else {
      scores<false>(group);
    }
  }

 private:
  static constexpr int kLoads = 8;  // a quarter of 256, in 16 bytes
  // What is computed of it is computed where it is used: not floats before the loop.
  CARAT_METHOD static Words4 anew(const Words4& k) {
    const auto word = [](uint32_t of) { return static_cast<uint32_t>(fresh(static_cast<int>(of))); };
    return {word(k.x), word(k.y), word(k.z), word(k.w)};
  }

  // A lane's key, or the last one before the row where that is less: what it scores then is nobody's.
  CARAT_METHOD void load_keys(int group, int quarter, Words4* k) const {
    const int key = most(0, least(group * 32 + this_lane(), position - 1)), E = head_size();
    const uint16_t* from =
        layer.k_cache + page(group) * kKeysPerPage * E + key % kKeysPerPage * 8 + quarter * (E / 32) * 8 * kKeysPerPage;
    CARAT_UNROLL for (int i = 0; i < kLoads; ++i) k[i] = load<Words4>(from + i * 8 * kKeysPerPage);
  }
  // kTwo: of a second group, too. What fits the registers as floats is floats before the query is there.
  template <bool kTwo>
  CARAT_METHOD void scores(int group) const {
    constexpr int kEarly = kTwo ? kNearEarly : kLoads;
    const int quarter = this_warp() % 4;
    float early[kEarly * 8];
    Words4 first[kLoads], second[kLoads];
    const auto value_of = [](const Words4& k, int j) {
      const uint32_t words[4] = {k.x, k.y, k.z, k.w};
      return half_to_float(static_cast<uint16_t>(words[j / 2] >> 16 * (j % 2)));
    };
    load_keys(group, quarter, first);
    if constexpr (kTwo) load_keys(group + 2, quarter, second);
    CARAT_UNROLL for (int i = 0; i < kEarly * 8; ++i) early[i] = here(value_of(first[i / 8], i % 8));
    if (position >= 0) d.heads_there(epoch).wait();  // it is: but the assembler moves nothing behind a condition
    CARAT_UNROLL_1 for (int turn = 0, task = first_task(); task < tasks(); ++turn, task += grid()) {
      const float* q = query(turn) + quarter * quarter_size();
      float chain[2] = {0.0f, 0.0f};
      CARAT_UNROLL for (int i = 0; i < kLoads; ++i) {
        CARAT_UNROLL for (int j = 0; j < 8; j += 4) {
          const FourFloats four = floats_at(q + i * 8 + j);
          CARAT_UNROLL for (int e = 0; e < 4; ++e) {
            const float value = i < kEarly ? early[least(i, kEarly - 1) * 8 + j + e] : value_of(anew(first[i]), j + e);
            chain[0] = fma_rn(value, four.of[e], chain[0]);
            if constexpr (kTwo) chain[1] = fma_rn(value_of(anew(second[i]), j + e), four.of[e], chain[1]);
          }
        }
      }
      float* to = quarters(turn) + (quarter * kNearGroups + group) * 32 + this_lane();
      const int key = group * 32 + this_lane();
      if (key < position) to[0] = chain[0];
      if (kTwo && key + 64 < position) to[64] = chain[1];
      team_meet(kTeamQuarters, kNearScoreTeam);
    }
  }
  // The row's own key's, a lane for a quarter: nobody waits for it at another place.
  CARAT_METHOD void own_score() const {
    d.heads_there(epoch).wait();
    const int quarter = this_lane() % 4;
    CARAT_UNROLL_1 for (int turn = 0, task = first_task(); task < tasks(); ++turn, task += grid()) {
      const float *k = key() + quarter * quarter_size(), *q = query(turn) + quarter * quarter_size();
      float chain = 0.0f;
      CARAT_UNROLL_8 for (int i = 0; i < quarter_size(); i += 4) {
        const FourFloats a = floats_at(k + i), b = floats_at(q + i);
        CARAT_UNROLL for (int j = 0; j < 4; ++j) chain = fma_rn(a.of[j], b.of[j], chain);
      }
      if (this_lane() < 4) quarters(turn)[quarter * kNearKeys + position] = chain;
      team_meet(kTeamQuarters, kNearScoreTeam);
    }
  }

  CARAT_METHOD void values() const {
    const DecodeParams& p = d.p;
    const int lane = this_lane(), group = lane / kValueColumns, E = head_size(), heads = S::heads(p);
    CARAT_UNROLL_1 for (int turn = 0, task = first_task(); task < tasks(); ++turn, task += grid()) {
      const int head = task / pieces(), column = task % pieces() * kValueColumns + lane % kValueColumns;
      // Keys that are not before the row have no value, whatever lies there; its own comes last.
      const int before = fresh(position - group * 32), filled = before > 0 ? group : 0;
      const uint16_t* from = layer.v_cache + (page(filled) * kKeysPerPage + filled * 32 % kKeysPerPage) * E + column;
      float value[32];
      {
        uint16_t halves[32];
        CARAT_UNROLL for (int k = 0; k < 32; ++k) halves[k] = load<uint16_t>(from + k * E);
        CARAT_UNROLL for (int k = 0; k < 32; ++k) value[k] = here(k < before ? half_to_float(halves[k]) : 0.0f);
      }
      float own[1];
      hear<1>(
          own, epoch, [](int) { return true; }, [&](int) { return p.qkv + (heads + 1) * E + column; });
      own[0] = half_to_float(float_to_half(clamp_to_half(own[0])));
      team_meet(kTeamQuarters, kNearScoreTeam);
      // A lane is a key of each group.
      const float* c = quarters(turn) + lane;
      float score[kNearGroups], sum = 0.0f;
      uint32_t order = 0;
      const auto visible = [&](int g) { return g * 32 + lane <= position; };
      CARAT_UNROLL for (int g = 0; g < kNearGroups; ++g) {
        const float* of_group = c + g * 32;
        score[g] = ((of_group[0] + of_group[kNearKeys]) + of_group[2 * kNearKeys]) + of_group[3 * kNearKeys];
        const uint32_t of_score = order_of_score(visible(g) ? score[g] : -bits_to_float(0x7f800000u));
        order = of_score > order ? of_score : order;
      }
      const float largest = score_of_order(warp_max(order));
      float weight[kNearGroups];  // without branches, side by side
      CARAT_UNROLL for (int g = 0; g < kNearGroups; ++g) weight[g] = exp_exact(score[g] - largest);
      CARAT_UNROLL for (int g = 0; g < kNearGroups; ++g) {
        weight[g] = here(weight[g]);
        if (!visible(g)) weight[g] = 0.0f;
        weights(turn)[g * kWeightsStep + lane] = weight[g];
        sum = sum + weight[g];
      }
      warp_barrier();
      const float* of_keys = weights(turn) + group * kWeightsStep;
      float chain = 0.0f;
      CARAT_UNROLL for (int k = 0; k < 32; k += 4) {
        const FourFloats four = floats_at(of_keys + k);
        CARAT_UNROLL for (int j = 0; j < 4; ++j) chain = fma_rn(four.of[j], value[k + j], chain);
      }
      if (before >= 0 && before < 32) chain = fma_rn(of_keys[before], own[0], chain);
      sum = warp_halves(sum);
      // Groups of a split that are not there are zeros: the last sum is with one of them.
      float total = from_lane(chain, lane % kValueColumns);
      CARAT_UNROLL for (int g = 1; g < kNearGroups; ++g) {
        total = total + from_lane(chain, g * kValueColumns + lane % kValueColumns);
      }
      total = total + 0.0f;
      if (lane < kValueColumns) tell(p.attended + head * E + column, div_rn(total, sum), epoch);
    }
  }
};

}  // namespace carat::cuda
