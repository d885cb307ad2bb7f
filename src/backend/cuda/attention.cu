// Attention of single rows: a block for a row and head (device/attention.cuh has the definition).
#include "backend/cuda/device/attention.cuh"

namespace carat::cuda {

inline constexpr int kAttendThreads = 256;

// One row and query head by a block: a thread is a key, then two columns of the head, then one column.
// blockIdx: item (a row), query head, and where p.splits is not 0 one split, counted from the row's first, into `partials`.
CARAT_KERNEL(attend_splits, AttentionParams, kAttendThreads, 1) {
  next_may_begin();
  auto* query = reinterpret_cast<float*>(shared_memory());  // [E]
  float* weights = query + p.head_size;                     // [256]
  float* scratch = weights + kSplit;                        // [16]
  float* grouped = scratch + 16;                            // [8 groups][E]
  const int E = p.head_size;
  const int row = p.items[blockIdx.x], head = static_cast<int>(blockIdx.y);
  const RowInfo info = p.rows[row];
  const int kv_head = head / (p.heads / p.kv_heads);
  const int32_t* pages = p.pages + p.begin[info.seq];
  const int page_count = p.count[info.seq];
  const int i = thread_index(), lane = lane_index(), warp = warp_index();
  int split = first_key(p, info.position) / kSplit;
  int end = info.sees_until / kSplit + 1;
  if (p.splits != 0) {
    split += static_cast<int>(blockIdx.z);
    if (split >= end) return;
    end = split + 1;
  }
  int64_t key_page = page_of(pages, page_count, split * kSplit + i);
  int64_t value_page = page_of(pages, page_count, split * kSplit + warp * 32);
  previous_wait();
  for (int e = i; e < E; e += kAttendThreads) {
    query[e] = p.qkv[(static_cast<int64_t>(row) * (p.heads + 2 * p.kv_heads) + head) * E + e];
  }
  block_barrier();

  Running running{0.0f, 0.0f, 0.0f, true};
  for (; split < end; ++split) {
    const Seen seen = seen_of(p, info, split);
    const bool visible = i >= seen.lo && i < seen.hi;
    float score = -bits_to_float(0x7f800000u);
    if (visible) {
      const uint16_t* keys = p.k_cache + (key_page * p.kv_heads + kv_head) * kKeysPerPage * E + (split * kSplit + i) % kKeysPerPage * 8;
      constexpr int kLoads = 8;  // a quarter of 256, in 16 bytes
      const int loads = E / 32;
      Words4 all[4][kLoads];  // asked for at once: a block has a multiprocessor to itself
      CARAT_UNROLL for (int quarter = 0; quarter < 4; ++quarter) {
        CARAT_UNROLL for (int k = 0; k < kLoads; ++k) {
          if (k < loads) all[quarter][k] = load<Words4>(keys + (quarter * loads + k) * 8 * kKeysPerPage);
        }
      }
      float chain[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      CARAT_UNROLL for (int k = 0; k < kLoads; ++k) {
        if (k >= loads) continue;
        CARAT_UNROLL for (int quarter = 0; quarter < 4; ++quarter) {
          const float* q = query + (quarter * loads + k) * 8;
          const Words4 now = all[quarter][k];
          const uint32_t words[4] = {now.x, now.y, now.z, now.w};
          CARAT_UNROLL for (int j = 0; j < 4; ++j) {
            chain[quarter] = fma_rn(half_to_float(static_cast<uint16_t>(words[j])), q[2 * j], chain[quarter]);
            chain[quarter] = fma_rn(half_to_float(static_cast<uint16_t>(words[j] >> 16)), q[2 * j + 1], chain[quarter]);
          }
        }
      }
      const float total = ((chain[0] + chain[1]) + chain[2]) + chain[3];
      score = total;
    }

    // A warp takes a group of 32 keys, a lane eight neighbouring columns; sixteen keys are asked for at once, the first of them here.
    const int group_lo = most(seen.lo, warp * 32), group_hi = least(seen.hi, warp * 32 + 32);
    const uint16_t* values =
        p.v_cache + ((value_page * p.kv_heads + kv_head) * kKeysPerPage + warp * 32 % kKeysPerPage) * E + lane * 8;
    constexpr int kAtOnce = 16;
    Words4 v[kAtOnce];
    const auto fetch = [&](int first) {
      CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {
        const int key = warp * 32 + first + k;
        v[k] = {};
        if (lane * 8 < E && key >= group_lo && key < group_hi) v[k] = load<Words4>(values + (first + k) * E);
      }
    };
    fetch(0);

    uint32_t top = warp_max(order_of_score(score));
    if (lane == 0) scratch[warp] = bits_to_float(top);
    block_barrier();
    top = warp_max(float_bits(scratch[lane & 7]));
    const float largest = score_of_order(top);
    weights[i] = visible ? exp_exact(score - largest) : 0.0f;
    block_barrier();
    float sum = 0.0f;  // every warp computes it: keys lane, lane + 32, ...
    CARAT_UNROLL for (int k = 0; k < kSplit / 32; ++k) sum = sum + weights[lane + 32 * k];
    sum = warp_halves(sum);

    if (lane * 8 < E) {
      float a[8];
      CARAT_UNROLL for (int e = 0; e < 8; ++e) a[e] = 0.0f;
      CARAT_UNROLL for (int first = 0; first < 32; first += kAtOnce) {
        if (first != 0) fetch(first);
        CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {  // keys that the row does not see have a weight of 0 and no value
          const float weight = weights[warp * 32 + first + k];
          const uint32_t words[4] = {v[k].x, v[k].y, v[k].z, v[k].w};
          CARAT_UNROLL for (int j = 0; j < 4; ++j) {
            a[2 * j] = fma_rn(weight, half_to_float(static_cast<uint16_t>(words[j])), a[2 * j]);
            a[2 * j + 1] = fma_rn(weight, half_to_float(static_cast<uint16_t>(words[j] >> 16)), a[2 * j + 1]);
          }
        }
      }
      CARAT_UNROLL for (int e = 0; e < 8; ++e) grouped[warp * E + lane * 8 + e] = a[e];
    }
    if (split + 1 < end) {
      key_page = page_of(pages, page_count, (split + 1) * kSplit + i);
      value_page = page_of(pages, page_count, (split + 1) * kSplit + warp * 32);
    }
    block_barrier();
    if (i < E) {
      float total = grouped[i];
      CARAT_UNROLL for (int k = 1; k < 8; ++k) total = total + grouped[k * E + i];
      running.add(largest, sum, total);
    }
  }
  if (p.splits == 0) {
    if (i < E) attended(p, row, head * E + i, div_rn(running.value, running.sum));
    return;
  }
  const int64_t at =
      (static_cast<int64_t>(blockIdx.x) * p.heads + head) * p.splits + static_cast<int>(blockIdx.z);
  float* out = p.partials + at * (E + 2);
  if (i < E) out[2 + i] = running.value;
  if (i == 0) {
    out[0] = running.largest;
    out[1] = running.sum;
  }
}

// As attend_splits, for kGroup neighbouring query heads of a kv head at once, so that keys and values are read once for them.
// blockIdx: item (a row), heads, and where p.splits is not 0 one split.
template <int kGroup>
CARAT_DEVICE void attend_heads(const AttentionParams& p) {
  const int E = p.head_size;
  auto* query = reinterpret_cast<float*>(shared_memory());  // [kGroup][E]
  float* weights = query + kGroup * E;                      // [256][kGroup]
  float* tops = weights + kSplit * kGroup;                  // [kGroup][8]: of warps
  float* sums = tops + kGroup * 8;                          // [kGroup]
  float* grouped = sums + 8;                                // [8 groups][kGroup][E]
  next_may_begin();
  const int row = p.items[blockIdx.x], first_head = static_cast<int>(blockIdx.y) * kGroup;
  const int kv_head = first_head / (p.heads / p.kv_heads);
  const RowInfo info = p.rows[row];
  const int32_t* pages = p.pages + p.begin[info.seq];
  const int page_count = p.count[info.seq];
  const int i = thread_index(), lane = lane_index(), warp = warp_index();
  int split = first_key(p, info.position) / kSplit;
  int end = info.sees_until / kSplit + 1;
  if (p.splits != 0) {
    split += static_cast<int>(blockIdx.z);
    if (split >= end) return;
    end = split + 1;
  }
  int64_t key_page = page_of(pages, page_count, split * kSplit + i);
  int64_t value_page = page_of(pages, page_count, split * kSplit + warp * 32);
  previous_wait();
  const float* from = p.qkv + (static_cast<int64_t>(row) * (p.heads + 2 * p.kv_heads) + first_head) * E;
  for (int e = i; e < kGroup * E; e += kAttendThreads) query[e] = from[e];
  block_barrier();

  Running running[kGroup];
  CARAT_UNROLL for (int h = 0; h < kGroup; ++h) running[h] = {0.0f, 0.0f, 0.0f, true};
  for (; split < end; ++split) {
    const Seen seen = seen_of(p, info, split);
    const bool visible = i >= seen.lo && i < seen.hi;
    float score[kGroup];
    CARAT_UNROLL for (int h = 0; h < kGroup; ++h) score[h] = -bits_to_float(0x7f800000u);
    if (visible) {
      const uint16_t* keys = p.k_cache + (key_page * p.kv_heads + kv_head) * kKeysPerPage * E + (split * kSplit + i) % kKeysPerPage * 8;
      constexpr int kLoads = kGroup == 2 ? 8 : 4;  // of 8 elements, at once
      const int loads = E / 8;
      int left = loads / 4;
      Words4 next[kLoads];
      const auto fetch = [&](int first) {
        CARAT_UNROLL for (int k = 0; k < kLoads; ++k) {
          if (first + k < loads) next[k] = load<Words4>(keys + (first + k) * 8 * kKeysPerPage);
        }
      };
      fetch(0);
      float chain[kGroup];
      CARAT_UNROLL for (int h = 0; h < kGroup; ++h) score[h] = -0.0f, chain[h] = 0.0f;
      CARAT_UNROLL_1 for (int first = 0; first < loads; first += kLoads) {
        Words4 now[kLoads];
        CARAT_UNROLL for (int k = 0; k < kLoads; ++k) now[k] = next[k];
        fetch(first + kLoads);
        CARAT_UNROLL for (int k = 0; k < kLoads; ++k) {
          if (first + k >= loads) continue;
          const uint32_t words[4] = {now[k].x, now[k].y, now[k].z, now[k].w};
          CARAT_UNROLL for (int half = 0; half < 2; ++half) {
            const float key[4] = {half_to_float(static_cast<uint16_t>(words[2 * half])),
                                  half_to_float(static_cast<uint16_t>(words[2 * half] >> 16)),
                                  half_to_float(static_cast<uint16_t>(words[2 * half + 1])),
                                  half_to_float(static_cast<uint16_t>(words[2 * half + 1] >> 16))};
            CARAT_UNROLL for (int h = 0; h < kGroup; ++h) {
              const Words4 q = load<Words4>(query + h * E + (first + k) * 8 + half * 4);
              chain[h] = fma_rn(key[0], bits_to_float(q.x), chain[h]);
              chain[h] = fma_rn(key[1], bits_to_float(q.y), chain[h]);
              chain[h] = fma_rn(key[2], bits_to_float(q.z), chain[h]);
              chain[h] = fma_rn(key[3], bits_to_float(q.w), chain[h]);
            }
          }
          if (--left == 0) {  // a quarter of the head has ended
            left = loads / 4;
            CARAT_UNROLL for (int h = 0; h < kGroup; ++h) {
              score[h] = score[h] + chain[h];
              chain[h] = 0.0f;
            }
          }
        }
      }
    }

    float largest[kGroup];
    weigh_split<kGroup>(score, visible, tops, weights, sums, largest, i, lane, warp);

    // A warp takes a group of 32 keys, a lane eight neighbouring columns.
    const int group_lo = most(seen.lo, warp * 32), group_hi = least(seen.hi, warp * 32 + 32);
    if (lane * 8 < E) {
      float a[kGroup][8];
      CARAT_UNROLL for (int h = 0; h < kGroup; ++h) {
        CARAT_UNROLL for (int e = 0; e < 8; ++e) a[h][e] = 0.0f;
      }
      const uint16_t* values =
          p.v_cache + ((value_page * p.kv_heads + kv_head) * kKeysPerPage + warp * 32 % kKeysPerPage) * E + lane * 8;
      constexpr int kAtOnce = kGroup == 2 ? 16 : 8;
      CARAT_UNROLL_1 for (int first = 0; first < 32; first += kAtOnce) {
        if (warp * 32 + first >= group_hi || warp * 32 + first + kAtOnce <= group_lo) continue;
        Words4 v[kAtOnce] = {};
        CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {
          const int key = warp * 32 + first + k;
          if (key >= group_lo && key < group_hi) v[k] = load<Words4>(values + (first + k) * E);
        }
        CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {  // keys that the row does not see have a weight of 0 and no value
          add_weighed<kGroup>(v[k], weights + (warp * 32 + first + k) * kGroup, a);
        }
      }
      put_group<kGroup>(grouped + warp * kGroup * E + lane * 8, E, a);
    }
    if (split + 1 < end) {
      key_page = page_of(pages, page_count, (split + 1) * kSplit + i);
      value_page = page_of(pages, page_count, (split + 1) * kSplit + warp * 32);
    }
    block_barrier();
    if (i < E) {
      add_groups<kGroup>(grouped, E, largest, sums, running, i);
    }
  }
  CARAT_UNROLL for (int h = 0; h < kGroup; ++h) {
    const int head = first_head + h;
    if (p.splits == 0) {
      if (i < E) attended(p, row, head * E + i, div_rn(running[h].value, running[h].sum));
      continue;
    }
    const int64_t at = (static_cast<int64_t>(blockIdx.x) * p.heads + head) * p.splits + static_cast<int>(blockIdx.z);
    float* out = p.partials + at * (E + 2);
    if (i < E) out[2 + i] = running[h].value;
    if (i == 0) {
      out[0] = running[h].largest;
      out[1] = running[h].sum;
    }
  }
}
CARAT_KERNEL(attend_heads_2, AttentionParams, kAttendThreads, 2) { attend_heads<2>(p); }
CARAT_KERNEL(attend_heads_4, AttentionParams, kAttendThreads, 2) { attend_heads<4>(p); }

// The splits of one row and head put together, in order: a thread is a column. blockIdx: item, head.
CARAT_KERNEL(combine_splits, AttentionParams, kAttendThreads, 1) {
  next_may_begin();
  previous_wait();
  const int E = p.head_size;
  const int row = p.items[blockIdx.x], head = static_cast<int>(blockIdx.y);
  const RowInfo info = p.rows[row];
  const int first = first_key(p, info.position) / kSplit;
  const int count = info.sees_until / kSplit - first + 1;
  const float* parts = p.partials + (static_cast<int64_t>(blockIdx.x) * p.heads + head) * p.splits * (E + 2);
  const int e = thread_index();
  if (e >= E) return;
  Running running{0.0f, 0.0f, 0.0f, true};
  for (int split = 0; split < count; ++split) {
    const float* part = parts + static_cast<int64_t>(split) * (E + 2);
    running.add(part[0], part[1], part[2 + e]);
  }
  attended(p, row, head * E + e, div_rn(running.value, running.sum));
}

}  // namespace carat::cuda
