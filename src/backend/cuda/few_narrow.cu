// Products of up to eight rows that have few outputs and few columns (queries, keys and values, what attention leaves): as few.cu
// multiplies, a block for two groups of outputs, a warp for each chunk, all of it at once.
#include "backend/cuda/device/few.cuh"

namespace carat::cuda {

template <TileType kType>
CARAT_DEVICE void few_narrow(const FewParams& p, int block) {
  constexpr int kTileBytes = tile_format(kType).tile_bytes(), kSegment = 8 * kTileRows;  // [8 outputs][8 rows]
  const int chunks = p.matrix.chunks, warp = warp_index(), lane = lane_index();
  uint8_t* weights = shared_memory();                                                      // [groups][chunks] tiles
  auto* part = reinterpret_cast<float*>(weights + kNarrowGroups * chunks * kTileBytes);    // [groups][chunks] segments
  auto* arrival = reinterpret_cast<uint64_t*>(part + kNarrowGroups * chunks * kSegment);
  const int first_group = block * kNarrowGroups;
  next_may_begin();
  few_begin(arrival);
  few_fetch<kType>(p, first_group, least(kNarrowGroups, p.matrix.groups - first_group), 0, chunks, weights, arrival);
  previous_wait();
  // What becomes of this thread's sums is asked for with the rows: the last thing should not wait for memory.
  const int row = thread_index() % 8;
  const float factor = row < p.rows ? factor_of<kType>(p.x, row) : 0.0f;
  ColumnFragments<kType> x;
  if (warp < chunks) x.load_of(p.x, warp, lane);
  uint32_t arrived = 0;
  few_wait(arrival, arrived);
  if (warp < chunks) {
    float acc[1][4];
    segments_of_columns<kType, 1>(weights + warp * kTileBytes, chunks * kTileBytes, x, lane, acc);
    CARAT_UNROLL for (int group = 0; group < kNarrowGroups; ++group) {  // rows 2t, 2t + 1 of output g are neighbours
      const float* of = acc[0] + 2 * group;
      *reinterpret_cast<Floats2*>(part + (group * chunks + warp) * kSegment + 2 * lane) = {of[0], of[1]};
    }
  }
  block_barrier();
  const int local = thread_index() / kSegment, group = first_group + local, r = thread_index() / 8 % kTileRows;
  if (local >= kNarrowGroups || row >= p.rows || group * kTileRows + r >= p.matrix.rows) return;
  const float* from = part + local * chunks * kSegment + thread_index() % kSegment;
  float total = 0.0f;
  CARAT_UNROLL_8 for (int i = 0; i < chunks; ++i) total = total + from[i * kSegment];
  p.out[static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + r] = factor * total;
}

#define CARAT_FEW_NARROW(name) \
  CARAT_KERNEL(few_narrow_##name, FewParams, kFewThreads, 2) { few_narrow<TileType::k##name>(p, static_cast<int>(blockIdx.x)); }
CARAT_CUDA_TYPES(CARAT_FEW_NARROW)
#undef CARAT_FEW_NARROW

// Two matrices of two types side by side (queries and keys, values) are one launch: the first blocks have the first.
#define CARAT_FEW_PAIR(first, second)                                                                 \
  CARAT_KERNEL(few_pair_##first##_##second, FewPairParams, kFewThreads, 2) {                          \
    const int block = static_cast<int>(blockIdx.x);                                                   \
    if (block < p.first_blocks) return few_narrow<TileType::k##first>(p.of[0], block);                \
    few_narrow<TileType::k##second>(p.of[1], block - p.first_blocks);                                 \
  }
CARAT_CUDA_FEW_PAIRS(CARAT_FEW_PAIR)
#undef CARAT_FEW_PAIR

}  // namespace carat::cuda
