// Few rows in bf16 (halves of half_params.h) times a matrix of bf16, float32 sums: 64 or 128 rows x 144 or 112 outputs a block, for sm_90.
// What else is to be said of them is in device/short_stages.cuh.
#include "backend/cuda/device/short_stages.cuh"

namespace carat::cuda {

inline constexpr int kShortPair = kClusters ? 2 : 1;

// A tile's sums, of whose rows and groups of outputs these are the first.
template <HalfKind kKind, int kRows, int kGroups>
CARAT_DEVICE void short_leave(const HalfGemmParams& p, const float* sums, int first_row, int first_group, int split) {
  ShortShare<kRows, 4 * kGroups> share;
  share.begin(sums);
  const int row0 = first_row + share.row, t = lane_index() & 3;
  if constexpr (kKind == HalfKind::kGated) {
    CARAT_UNROLL_1 for (int pair = share.first; pair < kGroups / 2; pair += share.kStep) {
      const int column = first_group * 4 + 8 * pair + 2 * t;
      if (2 * column >= p.outputs) break;
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        const int at = 8 * pair + 2 * half;
        const float a = gelu_near(share.sum(at)) * share.sum(at + 4), b = gelu_near(share.sum(at + 1)) * share.sum(at + 5);
        if (row0 + 8 * half < p.rows) store_core_pair(p.gated, row0 + 8 * half, column, a, b);
      }
    }
  } else {
    CARAT_UNROLL_3 for (int j = share.first; j < kGroups; j += share.kStep) {
      const float sum[4] = {share.sum(4 * j), share.sum(4 * j + 1), share.sum(4 * j + 2), share.sum(4 * j + 3)};
      leave_outputs(p, sum, row0, first_group + j, split);
    }
  }
}

template <HalfKind kKind, int kRows, int kPasses, int kGroups, int kPair = 1>
CARAT_DEVICE void core_short(const HalfGemmParams& p) {
  constexpr int kConsumers = kShortConsumers, kStage = short_stage_bytes(kRows, kPasses, kGroups), kSums = 4 * kGroups;
  constexpr int kThreads = 32 * kConsumers;
  const int warp = warp_index(), lane = lane_index(), blocks = static_cast<int>(gridDim.x), ring = p.ring;
  const int of_split = p.row_tiles * p.output_tiles, tiles = of_split * p.splits;
  const bool alone = blocks >= tiles;
  uint8_t* shared = shared_memory();
  // Where a block has one tile, all sums lie where its stages were; else those of the second warpgroup, where both have the same rows, behind.
  auto* sums = reinterpret_cast<float*>(shared + (alone ? 0 : ring * kStage));
  auto* full = reinterpret_cast<uint64_t*>(shared + short_bytes(kRows, kPasses, kGroups, alone, ring) - ring * 16);
  uint64_t* empty = full + ring;
  next_may_begin();
  begin_stages(full, empty, ring, kConsumers * kPair);
  if constexpr (kPair > 1) cluster_barrier();
  const auto begin_of = [&](int split) { return split * p.stages / p.splits; };
  if (warp >= kConsumers) {
    ShortCopies<kRows, kPasses, kGroups, kPair> copies;
    copies.begin();
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += blocks) {
      const int split = tile / of_split, place = tile - split * of_split;
      copies.bring(p, shared, full, empty, place % p.row_tiles, place / p.row_tiles, begin_of(split), begin_of(split + 1));
    }
    return;
  }
  const int warpgroup = warp / 4;
  StageWay way;
  [[maybe_unused]] BestOfRows best;
  best.begin();
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += blocks) {
    const int split = tile / of_split, place = tile - split * of_split;
    float acc[kSums];
    CARAT_UNROLL for (int i = 0; i < kSums; ++i) acc[i] = 0.0f;
    short_sums<kRows, kPasses, kGroups, kPair>(acc, shared, full, empty, ring, way, begin_of(split + 1) - begin_of(split), warpgroup, lane);
    const int first = place % p.row_tiles * kRows + warp % 4 * 16;
    const bool last = p.row_tiles != 1 || tile + blocks >= tiles;  // of these rows
    if constexpr (kKind != HalfKind::kBest) {
      if (alone) {
        team_barrier(1, kThreads);  // both warpgroups have read the stages
        put_sums<kSums>(sums, acc);
        team_barrier(1, kThreads);
        short_leave<kKind, kRows, kGroups>(p, sums, place % p.row_tiles * kRows, place / p.row_tiles * kGroups, split);
        if constexpr (kPair > 1) cluster_barrier();  // a block stays while its neighbour arrives at it
        return;
      }
    }
    if constexpr (kRows == 64) {
      float* mine = sums + thread_index() % 128;
      if (warpgroup == 1) {
        CARAT_UNROLL for (int i = 0; i < kSums; ++i) mine[i * 128] = acc[i];
      }
      team_barrier(1, kThreads);
      if (warpgroup == 0) {
        CARAT_UNROLL for (int i = 0; i < kSums; ++i) acc[i] = acc[i] + mine[i * 128];
      }
      team_barrier(1, kThreads);  // they are read
      if (warpgroup == 0) half_epilogue<kKind, kGroups>(p, acc, first, place / p.row_tiles, lane, split, &best);
    } else {
      half_epilogue<kKind, kGroups>(p, acc, first + warpgroup * 64, place / p.row_tiles, lane, split, &best);
    }
    if constexpr (kKind == HalfKind::kBest) {
      if (!last) continue;
      if (kRows != 64 || warpgroup == 0) best.leave(p, first + (kRows == 64 ? 0 : warpgroup * 64), lane);
      best.begin();
    }
  }
}

// So few registers that a block comes in while one of close_rows is still there.
#define CARAT_SHORT_KERNEL(name, kind, rows, groups)                            \
  CARAT_KERNEL_BESIDE(name, HalfGemmParams, 104) {                              \
    if constexpr (kWarpgroups) {                                                \
      if (p.passes == 2) return core_short<HalfKind::kind, rows, 2, groups>(p); \
      core_short<HalfKind::kind, rows, 1, groups>(p);                           \
    }                                                                           \
  }
CARAT_SHORT_KERNEL(core_text_64, kText, 64, kHalfGroups)
CARAT_SHORT_KERNEL(core_text_128, kText, 128, kHalfGroups)
CARAT_SHORT_KERNEL(core_best_64, kBest, 64, kHalfGroups)
CARAT_SHORT_KERNEL(core_best_128, kBest, 128, kHalfGroups)
CARAT_SHORT_KERNEL(core_gated_64, kGated, 64, kHalfGroups)
CARAT_SHORT_KERNEL(core_gated_128, kGated, 128, kHalfGroups)
CARAT_SHORT_KERNEL(core_slim_64, kGated, 64, kSlimGroups)
CARAT_SHORT_KERNEL(core_slim_128, kGated, 128, kSlimGroups)
#undef CARAT_SHORT_KERNEL

// Of two blocks of 128 rows each with the same weights; every block has one tile.
CARAT_KERNEL_OF_CLUSTERS(core_broad_128, HalfGemmParams, kWideThreads, kShortPair) {
  if constexpr (kWarpgroups) {
    if (p.passes == 2) return core_short<HalfKind::kGated, 128, 2, kBroadGroups, kShortPair>(p);
    core_short<HalfKind::kGated, 128, 1, kBroadGroups, kShortPair>(p);
  }
}

}  // namespace carat::cuda
