// A token for each row, where its logits lie, and into its slot: the next step begins with it before the host has seen it. The
// sampler's arithmetic, in its order; what needs more of a row than its best tokens is drawn by the host.
#include "backend/cuda/device/math.cuh"

namespace carat::cuda {

// The k best of a row one after the other, for rows with so many equal logits that they were not all taken.
CARAT_DEVICE int draw_looks_for(const float* logits, int vocabulary, int k, uint64_t* keys, uint64_t* scratch) {
  uint64_t before = ~uint64_t{0};
  for (int rank = 0; rank < k; ++rank) {
    uint64_t largest = 0;
    for (int i = thread_index(); i < vocabulary; i += kDrawThreads) {
      const uint64_t key = order_of_logit(logits[i], i);
      largest = key < before && key > largest ? key : largest;
    }
    CARAT_UNROLL for (int width = 16; width > 0; width /= 2) {
      const uint64_t other = from_lane_xor(largest, width);
      largest = other > largest ? other : largest;
    }
    if (lane_index() == 0) scratch[warp_index()] = largest;
    block_barrier();
    for (int warp = 0; warp < kDrawThreads / 32; ++warp) largest = scratch[warp] > largest ? scratch[warp] : largest;
    block_barrier();
    if (static_cast<uint32_t>(largest >> 32) <= kOrderOfNothing) return rank;
    if (thread_index() == 0) keys[rank] = largest;
    before = largest;
  }
  return k;
}

// A block a row. Shared memory: [kMostTop] keys and weights, [kDrawThreads / 32 + 1] words.
CARAT_KERNEL(draw_rows, DrawParams, kDrawThreads, 1) {
  next_may_begin();
  previous_wait();
  const int row = static_cast<int>(blockIdx.x), thread = thread_index();
  const DrawSpec spec = p.specs[row];
  auto* keys = reinterpret_cast<uint64_t*>(shared_memory());
  auto* weights = reinterpret_cast<double*>(keys + kMostTop);
  uint64_t* scratch = keys + 2 * kMostTop;
  int n = 0;  // candidates, in the order of their rank
  if (spec.top_k > 0) {
    const uint64_t count = p.count[row];
    if (count <= kTopTaken) {
      const uint64_t* taken = p.taken + static_cast<int64_t>(row) * kTopTaken;
      n = count < static_cast<uint64_t>(spec.top_k) ? static_cast<int>(count) : spec.top_k;
      for (int i = thread; i < static_cast<int>(count); i += kDrawThreads) {
        const uint64_t key = taken[i];
        int rank = 0;
        for (int j = 0; j < static_cast<int>(count); ++j) rank += taken[j] > key ? 1 : 0;
        if (rank < n) keys[rank] = key;
      }
    } else {
      n = draw_looks_for(p.logits + static_cast<int64_t>(row) * p.vocabulary, p.vocabulary, spec.top_k, keys, scratch);
    }
    block_barrier();
  }
  uint64_t chosen = p.best[row];
  if (n > 0) {
    const double peak = static_cast<double>(logit_of_order(keys[0]));
    if (thread < n) weights[thread] = weight_of(logit_of_order(keys[thread]), peak, 1.0);
    block_barrier();
    if (thread == 0) {
      int kept = n;
      if (spec.top_p < 1.0f) {
        double total = 0.0, held = 0.0;
        for (int i = 0; i < n; ++i) total = total + weights[i];
        const double wanted = static_cast<double>(spec.top_p) * total;
        kept = 0;
        while (kept < n && held < wanted) held = held + weights[kept++];
        kept = kept > 1 ? kept : 1;
      }
      if (spec.below < 0.0) {
        const double least = peak + spec.below;
        while (kept > 0 && static_cast<double>(logit_of_order(keys[kept - 1])) < least) --kept;
      }
      scratch[0] = static_cast<uint64_t>(kept);
    }
    block_barrier();
    n = static_cast<int>(scratch[0]);
    if (thread < n) weights[thread] = weight_of(logit_of_order(keys[thread]), peak, static_cast<double>(spec.temperature));
    block_barrier();
    if (thread == 0) {
      double total = 0.0, passed = 0.0;
      for (int i = 0; i < n; ++i) total = total + weights[i];
      const double target = spec.uniform * total;
      chosen = keys[n - 1];
      for (int i = 0; i < n; ++i) {
        passed = passed + weights[i];
        if (passed > target) {
          chosen = keys[i];
          break;
        }
      }
    }
  }
  if (thread != 0) return;
  const auto token = static_cast<int32_t>(~static_cast<uint32_t>(chosen));
  p.keys[row] = p.best[row];
  p.drawn[row] = token;
  if (spec.slot >= 0) p.slots[spec.slot] = token;
}

}  // namespace carat::cuda
