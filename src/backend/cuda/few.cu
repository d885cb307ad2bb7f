// A matrix times up to eight rows: a block for a few groups of 8 outputs. Its weights come all at once, before the rows are there
// (Launch::early); its warps take segments of 128 columns, which are then added in their order.
#include "backend/cuda/device/few.cuh"

namespace carat::cuda {

// kDeep: a warp has several segments, and asks for one's rows while it multiplies the other's.
template <TileType kType, bool kDeep>
CARAT_DEVICE void few(const FewParams& p) {
  constexpr int kTileBytes = tile_format(kType).tile_bytes();
  const int outputs = p.groups * kTileRows, pitch = outputs + 4;  // of a row of sums: no two lanes of a warp meet in a bank
  uint8_t* weights = shared_memory();  // [groups][chunks of a round] tiles
  auto* part = reinterpret_cast<float*>(weights + p.groups * p.round * kTileBytes);  // [chunks of a round][8 rows][pitch]
  auto* arrival = reinterpret_cast<uint64_t*>(part + p.round * 8 * pitch);
  const int threads = block_threads(), warps = threads / 32, warp = warp_index(), lane = lane_index();
  const int first_group = static_cast<int>(blockIdx.x) * p.groups;
  const int groups = least(p.groups, p.matrix.groups - first_group);
  const int chunks = p.matrix.chunks;
  next_may_begin();
  few_begin(arrival);
  few_fetch<kType>(p, first_group, groups, 0, least(p.round, chunks), weights, arrival);
  previous_wait();

  float total[kFewTotals];
  // Factors are asked for with the rows: what comes last should not wait for memory.
  float factor[kFewTotals];
  CARAT_UNROLL for (int k = 0; k < kFewTotals; ++k) {
    total[k] = 0.0f;
    const int row = (thread_index() + k * threads) / outputs;
    factor[k] = row < p.rows ? factor_of<kType>(p.x, row) : 0.0f;
  }
  uint32_t arrived = 0;
  for (int first = 0; first < chunks; first += p.round) {
    const int count = least(p.round, chunks - first);
    const bool last = first + p.round >= chunks;
    ColumnFragments<kType> next;
    if (warp < count) next.load_of(p.x, first + warp, lane);
    few_wait(arrival, arrived);
    CARAT_UNROLL_1 for (int i = warp; i < count; i += warps) {
      const ColumnFragments<kType> x = next;
      if (kDeep && i + warps < count) next.load_of(p.x, first + i + warps, lane);
      float* to = part + (i * 8 + 2 * (lane & 3)) * pitch + (lane >> 2);
      put_groups<kType, !kDeep>(weights + i * kTileBytes, count * kTileBytes, p.groups, x, lane, to, pitch);
      if (!kDeep && i + warps < count) next.load_of(p.x, first + i + warps, lane);
    }
    block_barrier();
    if (!last) few_fetch<kType>(p, first_group, groups, first + p.round, least(p.round, chunks - first - p.round), weights, arrival);
    CARAT_UNROLL for (int k = 0; k < kFewTotals; ++k) {
      const int mine = thread_index() + k * threads;
      if (mine >= 8 * outputs) continue;
      const int row = mine / outputs, group = first_group + mine % outputs / kTileRows, r = mine % kTileRows;
      const float* from = part + row * pitch + mine % outputs;
      CARAT_UNROLL_8 for (int i = 0; i < count; ++i) total[k] = total[k] + from[i * 8 * pitch];
      if (!last || row >= p.rows || group * kTileRows + r >= p.matrix.rows) continue;
      p.out[static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + r] =
          factor[k] * total[k];
    }
    block_barrier();
  }
}

// Many columns, shared out among kOf blocks (a cluster, so from sm_90 on): what one finds of another's outputs goes to that one, which
// adds all segments in their order. kPairs: of groups at once, so many fit the registers. kOne: a warp has no more than one chunk.
template <TileType kType, int kOf, int kGroups, int kPairs, bool kOne>
CARAT_DEVICE void few_shared(const FewParams& p) {
  constexpr int kTileBytes = tile_format(kType).tile_bytes(), kSegment = 8 * kTileRows;  // [8 outputs][8 rows]
  constexpr int kOwnGroups = (kGroups + kOf - 1) / kOf;                                  // at most
  static_assert(kOwnGroups * kSegment <= kSharedThreads);
  const int chunks = p.matrix.chunks, rank = static_cast<int>(blockIdx.x) % kOf;
  uint8_t* weights = shared_memory();  // [groups][chunks of a share] tiles
  auto* part = reinterpret_cast<float*>(weights + shared_weights_bytes(kType, kOf, kGroups, chunks));  // [own groups][chunks] segments
  auto* arrival = reinterpret_cast<uint64_t*>(part + kOwnGroups * chunks * kSegment);
  const int warps = block_threads() / 32, warp = warp_index(), lane = lane_index();
  const int first_group = static_cast<int>(blockIdx.x) / kOf * kGroups;
  const int groups = least(kGroups, p.matrix.groups - first_group);
  const int first = rank * chunks / kOf, count = (rank + 1) * chunks / kOf - first;
  next_may_begin();
  cluster_come();
  few_begin(arrival);
  few_fetch<kType>(p, first_group, groups, first, count, weights, arrival);
  previous_wait();
  // What becomes of this thread's sums is asked for with the rows: the last thing should not wait for memory.
  const int row = thread_index() % 8;
  const float factor = row < p.rows ? factor_of<kType>(p.x, row) : 0.0f;
  ColumnFragments<kType> next;
  if (warp < count) next.load_of(p.x, first + warp, lane);
  uint32_t arrived = 0;
  few_wait(arrival, arrived);
  cluster_meet();  // all of them are there, to be written to
  CARAT_UNROLL_1 for (int i = warp; i < count; i += warps) {
    const ColumnFragments<kType> x = next;
    if (!kOne && i + warps < count) next.load_of(p.x, first + i + warps, lane);
    CARAT_UNROLL_1 for (int pair = 0; pair < kGroups / 2; pair += kPairs) {
      float acc[kPairs][4];
      segments_of_columns<kType, kPairs>(weights + (pair * 2 * count + i) * kTileBytes, count * kTileBytes, x, lane, acc);
      CARAT_UNROLL for (int half = 0; half < 2 * kPairs; ++half) {  // rows 2t, 2t + 1 of output g are neighbours
        const int group = 2 * pair + half;
        float* to = part + (group / kOf * chunks + first + i) * kSegment + 2 * lane;
        const float* of = acc[half / 2] + half % 2 * 2;
        cluster_store(reinterpret_cast<uint64_t*>(to), group % kOf, static_cast<uint64_t>(float_bits(of[1])) << 32 | float_bits(of[0]));
      }
    }
    if (kOne) break;
  }
  cluster_barrier();  // so are all sums
  const int mine = fresh(thread_index()), local = mine / kSegment, r = mine / 8 % kTileRows;
  const int of_cluster = local * kOf + rank, group = first_group + of_cluster;
  if (of_cluster >= kGroups) return;
  const float* from = part + local * chunks * kSegment + mine % kSegment;
  float total = 0.0f;
  CARAT_UNROLL_8 for (int i = 0; i < chunks; ++i) total = total + from[i * kSegment];
  if (row >= p.rows || group * kTileRows + r >= p.matrix.rows) return;
  p.out[static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + r] = factor * total;
}

// few_deep: many columns, blocks with a multiprocessor to themselves; few: two of them share one, and few_shared comes beside one.
// few_six has so few registers that its blocks come beside those of the product between gate and up.
#define CARAT_FEW(name)                                                                          \
  CARAT_KERNEL(few_##name, FewParams, kFewThreads, 2) { few<TileType::k##name, false>(p); }       \
  CARAT_KERNEL(few_deep_##name, FewParams, kDeepThreads, 1) { few<TileType::k##name, true>(p); }  \
  CARAT_KERNEL_OF_CLUSTERS_BESIDE(few_shared_##name, FewParams, kSharedThreads, kShares, 2) {     \
    few_shared<TileType::k##name, kShares, kSharedGroups, tile_format(TileType::k##name).subs == 1 ? 2 : 1, false>(p); \
  }
CARAT_CUDA_TYPES(CARAT_FEW)
#undef CARAT_FEW
#define CARAT_FEW_SIX(name)                                                                     \
  CARAT_KERNEL_OF_CLUSTERS_WITHIN(few_six_##name, FewParams, kSixShares, six_registers(TileType::k##name)) {        \
    few_shared<TileType::k##name, kSixShares, kSixGroups, 1, true>(p);                           \
  }
CARAT_CUDA_SIX_TYPES(CARAT_FEW_SIX)
#undef CARAT_FEW_SIX

}  // namespace carat::cuda
