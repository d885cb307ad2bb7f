// Attention of single rows: a block for a row and head (device/attention.cuh has the definition).
#include "backend/cuda/device/attention.cuh"

namespace carat::cuda {

inline constexpr int kAttendThreads = 256;

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

// One row and query head by a block: a thread is a key, then two columns of the head, then one column.
// blockIdx: item (a row), query head, and where p.splits is not 0 one split, counted from the row's first, into `partials`.
CARAT_KERNEL(attend_splits, AttentionParams, kAttendThreads, 1) {
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
      const int key = split * kSplit + i;
      const int64_t page = page_of(pages, page_count, key);
      const uint16_t* keys = p.k_cache + (page * p.kv_heads + kv_head) * kKeysPerPage * E + key % kKeysPerPage * 8;
      float total = 0.0f;
      for (int quarter = 0; quarter < 4; ++quarter) {
        float chain = 0.0f;
        for (int e = quarter * E / 4; e < (quarter + 1) * E / 4; e += 8) {
          const Words4 v = load<Words4>(keys + e * kKeysPerPage);
          const uint32_t words[4] = {v.x, v.y, v.z, v.w};
          CARAT_UNROLL for (int k = 0; k < 4; ++k) {
            chain = fma_rn(half_to_float(static_cast<uint16_t>(words[k])), query[e + 2 * k], chain);
            chain = fma_rn(half_to_float(static_cast<uint16_t>(words[k] >> 16)), query[e + 2 * k + 1], chain);
          }
        }
        total = quarter == 0 ? chain : total + chain;
      }
      score = total;
    }

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

    // A warp takes a group of 32 keys, a lane two neighbouring columns at a time.
    const int group_lo = most(seen.lo, warp * 32), group_hi = least(seen.hi, warp * 32 + 32);
    for (int e = 2 * lane; e < E; e += 64) {
      float a = 0.0f, b = 0.0f;
      for (int k = group_lo; k < group_hi; ++k) {
        const int key = split * kSplit + k;
        const int64_t page = page_of(pages, page_count, key);
        const uint16_t* values = p.v_cache + ((page * p.kv_heads + kv_head) * kKeysPerPage + key % kKeysPerPage) * E;
        const uint32_t v = load<uint32_t>(values + e);
        a = fma_rn(weights[k], half_to_float(static_cast<uint16_t>(v)), a);
        b = fma_rn(weights[k], half_to_float(static_cast<uint16_t>(v >> 16)), b);
      }
      grouped[warp * E + e] = a;
      grouped[warp * E + e + 1] = b;
    }
    block_barrier();
    if (i < E) {
      float total = grouped[i];
      CARAT_UNROLL for (int k = 1; k < 8; ++k) total = total + grouped[k * E + i];
      running.add(largest, sum, total);
    }
  }
  if (p.splits == 0) {
    if (i < E) p.out[(static_cast<int64_t>(row) * p.heads + head) * E + i] = div_rn(running.value, running.sum);
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

// The splits of one row and head put together, in order: a thread is a column. blockIdx: item, head.
CARAT_KERNEL(combine_splits, AttentionParams, kAttendThreads, 1) {
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
  p.out[(static_cast<int64_t>(row) * p.heads + head) * E + e] = div_rn(running.value, running.sum);
}

}  // namespace carat::cuda
