// Attention of rows that are their sequence's only one in a step, heads of 256: with the norm and rope of its heads, and the
// row's key and value, which go into the cache and are used from where they are made. What the cache holds already was written by
// earlier steps, so it is asked for before the product of queries, keys and values has ended.
//   A block has a row and kGroup neighbouring query heads of a kv head; a thread is a key, then a warp 32 keys and a lane eight
//   columns, then a thread a column. Arithmetic and order are those of attention.cu.
#include "backend/cuda/device/attention.cuh"
#include "backend/cuda/device/heads.cuh"

namespace carat::cuda {

// The chains of one key with a query, in quarters of the head.
struct Chains {
  float quarter[4];
  CARAT_METHOD float sum() const { return ((quarter[0] + quarter[1]) + quarter[2]) + quarter[3]; }
};

template <int kGroup>
CARAT_DEVICE void attend_one(const OneParams& of) {
  constexpr int E = kOneHead, kLoads = E / 8;  // of eight elements
  constexpr bool kAll = kGroup <= 2;           // a block has a multiprocessor to itself: all of a key is asked for at once
  const AttentionParams& p = of.attention;
  const HeadsParams& h = of.heads;
  auto* query = reinterpret_cast<float*>(shared_memory());  // [kGroup][E]
  float* weights = query + kGroup * E;                      // [256][kGroup]
  float* tops = weights + kSplit * kGroup;                  // [kGroup][8]: of warps
  float* sums = tops + kGroup * 8;                          // [kGroup]
  float* grouped = sums + 8;                                // [8 groups][kGroup][E]
  auto* own_key = reinterpret_cast<uint16_t*>(grouped + 8 * kGroup * E);
  uint16_t* own_value = own_key + E;
  next_may_begin();
  const int row = p.items[blockIdx.x], first_head = static_cast<int>(blockIdx.y) * kGroup;
  const int group = p.heads / p.kv_heads, kv_head = first_head / group;
  const RowInfo info = p.rows[row];
  const int32_t* pages = p.pages + p.begin[info.seq];
  const int page_count = p.count[info.seq];
  const int i = thread_index(), lane = lane_index(), warp = warp_index();
  int split = first_key(p, info.position) / kSplit;
  int end = info.position / kSplit + 1;
  if (p.splits != 0) {
    split += static_cast<int>(blockIdx.z);
    if (split >= end) return;
    end = split + 1;
  }
  const auto keys_of = [&](int at) {
    const int64_t page = page_of(pages, page_count, at * kSplit + i);
    return p.k_cache + (page * p.kv_heads + kv_head) * kKeysPerPage * E + (at * kSplit + i) % kKeysPerPage * 8;
  };
  const auto values_of = [&](int at) {
    const int64_t page = page_of(pages, page_count, at * kSplit + warp * 32);
    return p.v_cache + ((page * p.kv_heads + kv_head) * kKeysPerPage + warp * 32 % kKeysPerPage) * E + lane * 8;
  };
  constexpr int kKeys = kAll ? kLoads : 4, kValues = kGroup == 4 ? 8 : 16;  // asked for at once
  Words4 key[kKeys], v[kValues];
  const uint16_t *keys = keys_of(split), *values = values_of(split);
  Seen seen = seen_of(p, info, split);
  int own = info.position - split * kSplit;  // where the row's own key is in the split, if there
  const auto fetch_keys = [&](int first) {
    if (i < seen.lo || i >= seen.hi) return;
    CARAT_UNROLL for (int k = 0; k < kKeys; ++k) {
      if (first + k >= kLoads) continue;
      if (i == own) {
        key[k] = load<Words4>(own_key + (first + k) * 8);
      } else {
        key[k] = load<Words4>(keys + (first + k) * 8 * kKeysPerPage);
      }
    }
  };
  const auto fetch_values = [&](int first, bool with_own) {
    CARAT_UNROLL for (int k = 0; k < kValues; ++k) {
      const int at = warp * 32 + first + k;
      v[k] = {};
      if (at < seen.lo || at >= seen.hi) continue;
      if (at != own) {
        v[k] = load<Words4>(values + (first + k) * E);
      } else if (with_own) {
        v[k] = load<Words4>(own_value + lane * 8);
      }
    }
  };
  CARAT_UNROLL for (int k = 0; k < kKeys; ++k) key[k] = {};
  if (i != own) fetch_keys(0);
  if constexpr (kGroup == 1) fetch_values(0, false);
  previous_wait();
  {
    const float* qkv = h.qkv + static_cast<int64_t>(row) * (h.heads + 2 * h.kv_heads) * E;
    const float *queries = qkv + first_head * E, *key_from = qkv + (h.heads + kv_head) * E,
                *value_from = key_from + h.kv_heads * E;
    const int64_t angle = static_cast<int64_t>(row) * (E / 2);
    const bool whole = info.position / kSplit == end - 1;  // the row's own key is in these splits
    const bool leaves = whole && first_head % group == 0;
    const int page = page_of(pages, page_count, info.position), slot = info.position % kKeysPerPage;
    const int64_t base = (static_cast<int64_t>(page) * p.kv_heads + kv_head) * kKeysPerPage * E;
    if (warp < kGroup) {
      turn_head(queries + warp * E, h.q_norm, h.cosines + angle, h.sines + angle, E, h.epsilon,
                [&](int e, float x) { query[warp * E + e] = x * h.query_scale; });
    } else if (warp == kGroup && whole) {
      turn_head(key_from, h.k_norm, h.cosines + angle, h.sines + angle, E, h.epsilon, [&](int e, float x) {
        own_key[e] = float_to_half(clamp_to_half(x));
        if (leaves) h.k_cache[base + (e / 8 * kKeysPerPage + slot) * 8 + e % 8] = own_key[e];
      });
    } else if (warp == kGroup + 1 && whole) {
      CARAT_UNROLL for (int k = 0; k < E / 32; ++k) {
        const int e = lane + 32 * k;
        own_value[e] = float_to_half(clamp_to_half(value_from[e]));
        if (leaves) h.v_cache[base + slot * E + e] = own_value[e];
      }
    }
  }
  block_barrier();
  if (i == own) fetch_keys(0);

  Running running[kGroup];
  CARAT_UNROLL for (int n = 0; n < kGroup; ++n) running[n] = {0.0f, 0.0f, 0.0f, true};
  for (;;) {
    const bool visible = i >= seen.lo && i < seen.hi;
    float score[kGroup];
    CARAT_UNROLL for (int n = 0; n < kGroup; ++n) score[n] = -bits_to_float(0x7f800000u);
    if (visible) {
      if constexpr (kAll) {
        Chains chains[kGroup];
        CARAT_UNROLL for (int n = 0; n < kGroup; ++n) chains[n] = {0.0f, 0.0f, 0.0f, 0.0f};
        CARAT_UNROLL for (int k = 0; k < kLoads / 4; ++k) {
          CARAT_UNROLL for (int quarter = 0; quarter < 4; ++quarter) {
            const Words4 now = key[quarter * (kLoads / 4) + k];
            const uint32_t words[4] = {now.x, now.y, now.z, now.w};
            CARAT_UNROLL for (int n = 0; n < kGroup; ++n) {
              const float* q = query + n * E + (quarter * (kLoads / 4) + k) * 8;
              float chain = chains[n].quarter[quarter];
              CARAT_UNROLL for (int j = 0; j < 4; ++j) {
                chain = fma_rn(half_to_float(static_cast<uint16_t>(words[j])), q[2 * j], chain);
                chain = fma_rn(half_to_float(static_cast<uint16_t>(words[j] >> 16)), q[2 * j + 1], chain);
              }
              chains[n].quarter[quarter] = chain;
            }
          }
        }
        CARAT_UNROLL for (int n = 0; n < kGroup; ++n) score[n] = chains[n].sum();
      } else {
        float chain[kGroup];
        CARAT_UNROLL for (int n = 0; n < kGroup; ++n) score[n] = -0.0f, chain[n] = 0.0f;
        CARAT_UNROLL_1 for (int first = 0; first < kLoads; first += kKeys) {
          Words4 now[kKeys];
          CARAT_UNROLL for (int k = 0; k < kKeys; ++k) now[k] = key[k];
          fetch_keys(first + kKeys);
          CARAT_UNROLL for (int k = 0; k < kKeys; ++k) {
            const uint32_t words[4] = {now[k].x, now[k].y, now[k].z, now[k].w};
            CARAT_UNROLL for (int two = 0; two < 2; ++two) {
              const float part[4] = {half_to_float(static_cast<uint16_t>(words[2 * two])),
                                     half_to_float(static_cast<uint16_t>(words[2 * two] >> 16)),
                                     half_to_float(static_cast<uint16_t>(words[2 * two + 1])),
                                     half_to_float(static_cast<uint16_t>(words[2 * two + 1] >> 16))};
              CARAT_UNROLL for (int n = 0; n < kGroup; ++n) {
                const Words4 q = load<Words4>(query + n * E + (first + k) * 8 + two * 4);
                chain[n] = fma_rn(part[0], bits_to_float(q.x), chain[n]);
                chain[n] = fma_rn(part[1], bits_to_float(q.y), chain[n]);
                chain[n] = fma_rn(part[2], bits_to_float(q.z), chain[n]);
                chain[n] = fma_rn(part[3], bits_to_float(q.w), chain[n]);
              }
            }
          }
          if ((first + kKeys) % (kLoads / 4) != 0) continue;
          CARAT_UNROLL for (int n = 0; n < kGroup; ++n) {  // a quarter of the head has ended
            score[n] = score[n] + chain[n];
            chain[n] = 0.0f;
          }
        }
      }
    }
    if constexpr (kGroup != 1) fetch_values(0, true);

    float largest[kGroup];
    weigh_split<kGroup>(score, visible, tops, weights, sums, largest, i, lane, warp);

    float a[kGroup][8];
    CARAT_UNROLL for (int n = 0; n < kGroup; ++n) {
      CARAT_UNROLL for (int e = 0; e < 8; ++e) a[n][e] = 0.0f;
    }
    if (kGroup == 1 && own >= warp * 32 && own < warp * 32 + kValues) {
      CARAT_UNROLL for (int k = 0; k < kValues; ++k) {
        if (warp * 32 + k == own) v[k] = load<Words4>(own_value + lane * 8);
      }
    }
    constexpr int kTurns = 32 / kValues;
    CARAT_UNROLL for (int turn = 0; turn < kTurns; ++turn) {
      if (turn != 0) fetch_values(turn * kValues, true);
      CARAT_UNROLL for (int k = 0; k < kValues; ++k) {  // keys that the row does not see have a weight of 0 and no value
        add_weighed<kGroup>(v[k], weights + (warp * 32 + turn * kValues + k) * kGroup, a);
      }
    }
    put_group<kGroup>(grouped + warp * kGroup * E + lane * 8, E, a);
    const bool more = ++split < end;
    if (more) {
      keys = keys_of(split), values = values_of(split);
      seen = seen_of(p, info, split);
      own = info.position - split * kSplit;
      fetch_keys(0);
      if constexpr (kGroup == 1) fetch_values(0, true);
    }
    block_barrier();
    add_groups<kGroup>(grouped, E, largest, sums, running, i);
    if (!more) break;
  }
  CARAT_UNROLL for (int n = 0; n < kGroup; ++n) {
    const int head = first_head + n;
    if (p.splits == 0) {
      attended(p, row, head * E + i, div_rn(running[n].value, running[n].sum));
      continue;
    }
    const int64_t at = (static_cast<int64_t>(blockIdx.x) * p.heads + head) * p.splits + static_cast<int>(blockIdx.z);
    float* out = p.partials + at * (E + 2);
    out[2 + i] = running[n].value;
    if (i == 0) {
      out[0] = running[n].largest;
      out[1] = running[n].sum;
    }
  }
}

CARAT_KERNEL(attend_one_1, OneParams, kOneThreads, 1) { attend_one<1>(p); }
CARAT_KERNEL(attend_one_2, OneParams, kOneThreads, 1) { attend_one<2>(p); }
CARAT_KERNEL(attend_one_4, OneParams, kOneThreads, 2) { attend_one<4>(p); }

}  // namespace carat::cuda
