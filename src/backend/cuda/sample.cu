// The most probable tokens of a row of logits, without the row's visiting the host: the first (the lowest id on ties), or
// all that a draw from the k best can fall on.
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

// blockIdx: groups, row.
CARAT_KERNEL(top_largest, TopParams, 256, 1) {
  const float* logits = p.logits + static_cast<int64_t>(blockIdx.y) * p.vocabulary;
  const int group = static_cast<int>(blockIdx.x) * block_threads() + thread_index();
  uint32_t largest = 0;
  CARAT_UNROLL_8 for (int i = group; i < p.vocabulary; i += kTopGroups) {
    const auto order = static_cast<uint32_t>(order_of_logit(logits[i], i) >> 32);
    largest = order > largest ? order : largest;
  }
  p.largest[static_cast<int64_t>(blockIdx.y) * kTopGroups + group] = largest;
}

// A warp a row: the largest value that k groups reach, found bit by bit.
CARAT_KERNEL(top_least, TopParams, 32, 1) {
  const uint32_t* row = p.largest + static_cast<int64_t>(blockIdx.x) * kTopGroups;
  uint32_t largest[kTopGroups / 32];
  CARAT_UNROLL for (int i = 0; i < kTopGroups / 32; ++i) largest[i] = row[32 * i + lane_index()];
  uint32_t least = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const uint32_t higher = least | 1u << bit;
    uint32_t reach = 0;
    CARAT_UNROLL for (int i = 0; i < kTopGroups / 32; ++i) reach += largest[i] >= higher ? 1 : 0;
    CARAT_UNROLL for (int width = 16; width > 0; width /= 2) reach += from_lane_xor(reach, width);
    if (reach >= static_cast<uint32_t>(p.k)) least = higher;
  }
  if (lane_index() == 0) p.least[blockIdx.x] = least;
}

// blockIdx: piece of the vocabulary, row.
CARAT_KERNEL(top_taken, TopParams, 256, 1) {
  const float* logits = p.logits + static_cast<int64_t>(blockIdx.y) * p.vocabulary;
  const uint64_t least = static_cast<uint64_t>(p.least[blockIdx.y]) << 32;
  const int stride = static_cast<int>(gridDim.x) * block_threads();
  for (int i = static_cast<int>(blockIdx.x) * block_threads() + thread_index(); i < p.vocabulary; i += stride) {
    const uint64_t order = order_of_logit(logits[i], i);
    if (order < least) continue;
    const uint64_t at = atomic_add(p.count + blockIdx.y, 1);
    if (at < kTopTaken) p.taken[static_cast<int64_t>(blockIdx.y) * kTopTaken + static_cast<int64_t>(at)] = order;
  }
}

}  // namespace carat::cuda
