// Rows in bf16 (halves of half_params.h) times a matrix of bf16 with few outputs, float32 sums, for sm_90: 64 or 128 rows x 144
// outputs are a cluster's, whose blocks share out the columns. Each block leaves its sums in its own shared memory, and adds those
// of all of them for its share of the outputs, in their order, so that nobody after it has parts to add.
//   Where there are no clusters the first of such blocks multiplies all columns.
#include "backend/cuda/device/short_stages.cuh"

namespace carat::cuda {

template <int kRows, int kPasses, int kShares>
CARAT_DEVICE void core_split(const HalfGemmParams& p) {
  constexpr int kConsumers = kShortConsumers, kSums = 4 * kHalfGroups, kThreads = 32 * kConsumers;
  const int warp = warp_index(), lane = lane_index(), ring = p.ring;
  const int rank = kClusters ? cluster_rank() : static_cast<int>(blockIdx.x) % kShares, shares = kClusters ? kShares : 1;
  if (rank >= shares) return;
  const int tile = static_cast<int>(blockIdx.x) / kShares, first_stage = rank * p.stages / shares, end_stage = (rank + 1) * p.stages / shares;
  uint8_t* shared = shared_memory();
  auto* sums = reinterpret_cast<float*>(shared);  // where the stages were: [2 warpgroups][kSums][128 threads]
  auto* full = reinterpret_cast<uint64_t*>(shared + short_bytes(kRows, kPasses, kHalfGroups, true, ring) - ring * 16);
  uint64_t* empty = full + ring;
  next_may_begin();
  begin_stages(full, empty, ring, kConsumers);
  const int row_tile = tile % p.row_tiles, output_tile = tile / p.row_tiles;
  if (warp >= kConsumers) {
    ShortCopies<kRows, kPasses, kHalfGroups> copies;
    copies.begin();
    copies.bring(p, shared, full, empty, row_tile, output_tile, first_stage, end_stage);
    return;
  }
  const int warpgroup = warp / 4;
  float acc[kSums];
  CARAT_UNROLL for (int i = 0; i < kSums; ++i) acc[i] = 0.0f;
  StageWay way;
  short_sums<kRows, kPasses, kHalfGroups>(acc, shared, full, empty, ring, way, end_stage - first_stage, warpgroup, lane);
  team_barrier(1, kThreads);  // both warpgroups have read the stages
  put_sums<kSums>(sums, acc);
  cluster_barrier();
  ShortShare<kRows, kSums> share;
  share.begin(sums);
  constexpr int kParts = share.kShared ? 2 : 1;
  CARAT_UNROLL_1 for (int j = rank * kHalfGroups / shares + share.first; j < (rank + 1) * kHalfGroups / shares; j += share.kStep) {
    constexpr int kAtOnce = 4;  // blocks that are asked
    float total[4];
    CARAT_UNROLL for (int first = 0; first < kShares; first += kAtOnce) {
      float part[kAtOnce][kParts][4];
      CARAT_UNROLL for (int r = 0; r < kAtOnce; ++r) {
        if (first + r >= kShares || first + r >= shares) continue;
        CARAT_UNROLL for (int half = 0; half < kParts; ++half) {
          CARAT_UNROLL for (int e = 0; e < 4; ++e) part[r][half][e] = cluster_load(share.from + (half * kSums + 4 * j + e) * 128, first + r);
        }
      }
      CARAT_UNROLL for (int r = 0; r < kAtOnce; ++r) {
        if (first + r >= kShares || first + r >= shares) continue;
        CARAT_UNROLL for (int e = 0; e < 4; ++e) {
          const float one = kParts == 2 ? part[r][0][e] + part[r][kParts - 1][e] : part[r][0][e];
          total[e] = first + r == 0 ? one : total[e] + one;
        }
      }
    }
    leave_outputs(p, total, row_tile * kRows + share.row, output_tile * kHalfGroups + j, 0);
  }
  cluster_barrier();  // a block stays while others read its sums
}

#define CARAT_SPLIT_KERNEL(name, rows, shares)                               \
  CARAT_KERNEL_OF_CLUSTERS(name, HalfGemmParams, kWideThreads, shares) {      \
    if constexpr (kWarpgroups) {                                             \
      if (p.passes == 2) return core_split<rows, 2, shares>(p);              \
      core_split<rows, 1, shares>(p);                                        \
    }                                                                        \
  }
CARAT_SPLIT_KERNEL(core_split_64_4, 64, 4)
CARAT_SPLIT_KERNEL(core_split_64_8, 64, 8)
CARAT_SPLIT_KERNEL(core_split_128_4, 128, 4)
CARAT_SPLIT_KERNEL(core_split_128_6, 128, 6)
#undef CARAT_SPLIT_KERNEL

}  // namespace carat::cuda
