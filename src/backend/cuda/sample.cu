// What decides a choice from a row of logits, without the row's visiting the host: the first (the lowest id on ties), all that
// a draw from the k best can fall on, sums of probabilities; and what bias, penalties and masks make of a row before that.
#include "backend/cuda/device/math.cuh"

namespace carat::cuda {

// blockIdx: piece of the vocabulary, row. best[row] must be 0 before.
CARAT_KERNEL(find_best, BestParams, 256, 1) {
  next_may_begin();
  previous_wait();
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
  if (lane_index() != 0) return;
  if (const double below = p.below[blockIdx.x]; below < 0.0) {
    const double exact = static_cast<double>(logit_of_order(p.best[blockIdx.x])) + below;
    const auto nearest = static_cast<float>(exact);
    least = static_cast<uint32_t>(order_of_logit(nearest, 0) >> 32) + (static_cast<double>(nearest) < exact ? 1 : 0);
  }
  p.least[blockIdx.x] = least > kOrderOfNothing ? least : kOrderOfNothing + 1;
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

// blockIdx: piece of the vocabulary, row. The first block does the list; what the mask bars is -inf, whoever comes first.
CARAT_KERNEL(adjust_rows, AdjustParams, 256, 1) {
  const int row = static_cast<int>(blockIdx.y);
  float* logits = p.logits + static_cast<int64_t>(row) * p.vocabulary;
  const uint32_t* allowed = p.mask[row] < 0 ? nullptr : p.allowed + static_cast<int64_t>(p.mask[row]) * p.mask_words;
  const auto bars = [&](int id) { return allowed != nullptr && (allowed[id / 32] >> (id % 32) & 1u) == 0; };
  if (blockIdx.x == 0) {
    for (int i = p.begin[row] + thread_index(); i < p.begin[row + 1]; i += block_threads()) {
      const Adjustment a = p.list[i];
      const float logit = logits[a.id];
      p.before[i] = logit;
      if (!bars(a.id)) logits[a.id] = adjusted_logit(a, logit);
    }
  }
  if (allowed == nullptr) return;
  const int stride = static_cast<int>(gridDim.x) * block_threads();
  for (int id = static_cast<int>(blockIdx.x) * block_threads() + thread_index(); id < p.vocabulary; id += stride) {
    if (bars(id)) logits[id] = bits_to_float(0xff800000u);
  }
}

// blockIdx: piece, row. Shared memory: [kPieceLogits + kPieceLanes] doubles.
CARAT_KERNEL(sum_pieces, SumParams, kSumThreads, 1) {
  const int piece = static_cast<int>(blockIdx.x), row = static_cast<int>(blockIdx.y);
  const double temperature = p.temperatures[row];
  if (temperature == 0.0) return;
  const float* logits = p.logits + static_cast<int64_t>(row) * p.vocabulary;
  const double peak = static_cast<double>(logit_of_order(p.best[row]));
  auto* weights = reinterpret_cast<double*>(shared_memory());
  double* lanes = weights + kPieceLogits;
  for (int i = thread_index(); i < kPieceLogits; i += kSumThreads) {
    const int id = piece * kPieceLogits + i;
    weights[i] = id < p.vocabulary ? weight_of(logits[id], peak, temperature) : 0.0;
  }
  block_barrier();
  if (thread_index() < kPieceLanes) {
    double sum = 0.0;
    CARAT_UNROLL_8 for (int i = thread_index(); i < kPieceLogits; i += kPieceLanes) sum = sum + weights[i];
    lanes[thread_index()] = sum;
  }
  block_barrier();
  if (thread_index() != 0) return;
  CARAT_UNROLL for (int width = kPieceLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] = lanes[i] + lanes[i + width];
  }
  p.sums[static_cast<int64_t>(row) * p.pieces + piece] = lanes[0];
}

}  // namespace carat::cuda
