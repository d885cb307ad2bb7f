// The most probable token of a row of logits, the lowest id on ties, without the row's visiting the host.
#include "backend/cuda/device/math.cuh"

namespace carat::cuda {

// blockIdx: piece of the vocabulary, row. best[row] must be 0 before.
CARAT_KERNEL(find_best, BestParams, 256, 1) {
  const float* logits = p.logits + static_cast<int64_t>(blockIdx.y) * p.vocabulary;
  uint64_t best = 0;
  const int stride = static_cast<int>(gridDim.x) * block_threads();
  for (int i = static_cast<int>(blockIdx.x) * block_threads() + thread_index(); i < p.vocabulary; i += stride) {
    const uint64_t key = order_of_logit(logits[i], i);
    best = key > best ? key : best;
  }
  CARAT_UNROLL for (int width = 16; width > 0; width /= 2) {
    const uint64_t other = from_lane_xor(best, width);
    best = other > best ? other : best;
  }
  if (lane_index() == 0) atomic_max(p.best + blockIdx.y, best);
}

// Ids of greedy samples into their slots, for later steps.
CARAT_KERNEL(store_best, SampleStoreParams, 256, 1) {
  for (int i = thread_index(); i < p.count; i += block_threads()) {
    if (p.slot[i] >= 0) p.slots[p.slot[i]] = static_cast<int32_t>(~static_cast<uint32_t>(p.best[i]));
  }
}

}  // namespace carat::cuda
