// Few rows in bf16 (halves of half_params.h) times a matrix of bf16, float32 sums: 64 or 128 rows x 144 outputs a block, for sm_90. Four warps
// copy stages of 64 columns, weights and both pieces of every row, so that weights are read once, and long before the rows are
// there (three of the warps wait for nothing). Of 64 rows each of the two warpgroups multiplies one piece, of 128 both of its 64.
#include "backend/cuda/device/gemm.cuh"
#include "backend/cuda/device/halves.cuh"

namespace carat::cuda {

// Products of the stages of one tile. kPasses: pieces of a row.
template <int kRows, int kPasses>
CARAT_DEVICE void short_products(float* acc, const uint8_t* stage, int warpgroup) {
  constexpr int kPiece = short_piece_bytes(kRows), kSteps = kHalfColumns / 16;
  constexpr bool kShared = kRows == 64;  // both warpgroups have the same rows
  const uint8_t* x = stage + (kShared ? 0 : warpgroup * 64 * kHalfColumns * 2);
  const uint8_t* w = stage + kPasses * kPiece;
  if constexpr (kShared && kPasses == 2) x += warpgroup * kPiece;
  const int first = kShared && kPasses == 1 ? warpgroup * (kSteps / 2) : 0;
  constexpr int kOwnSteps = kShared && kPasses == 1 ? kSteps / 2 : kSteps, kOwnPieces = kShared ? 1 : kPasses;
  warpgroup_begin();
  CARAT_UNROLL for (int k = 0; k < kOwnSteps; ++k) {
    CARAT_UNROLL for (int piece = 0; piece < kOwnPieces; ++piece) {
      warpgroup_mma_bf16(acc, x + piece * kPiece + (first + k) * 256, w + (first + k) * 256, 1024, false);
    }
  }
  warpgroup_commit();
}

template <HalfKind kKind, int kRows, int kPasses>
CARAT_DEVICE void core_short(const HalfGemmParams& p) {
  constexpr int kConsumers = 8, kWeightCopiers = 3;  // warps; one more copies rows
  constexpr int kPiece = short_piece_bytes(kRows), kStage = short_stage_bytes(kRows, kPasses), kStages = short_stages(kRows, kPasses);
  uint8_t* shared = shared_memory();
  auto* sums = reinterpret_cast<float*>(shared + kStages * kStage);  // of the second warpgroup, where both have the same rows
  auto* full = reinterpret_cast<uint64_t*>(shared + kStages * kStage + short_sums_bytes(kRows));
  uint64_t* empty = full + kStages;
  const int warp = warp_index(), lane = lane_index(), blocks = static_cast<int>(gridDim.x);
  const int of_split = p.row_tiles * p.output_tiles, tiles = of_split * p.splits;
  next_may_begin();
  begin_stages(full, empty, kStages, kConsumers);
  int slot = 0, phase = 0;
  if (warp >= kConsumers) {
    const bool rows = warp == kConsumers + kWeightCopiers;
    const int piece = lane * kWeightCopiers + warp - kConsumers;  // groups of weights; a lane's copy costs its warp some 80 clocks
    if (rows) previous_wait();
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += blocks) {
      const int split = tile / of_split, place = tile - split * of_split;
      const int row_group = place % p.row_tiles * (kRows / 8);
      const int row_bytes = least(kRows, (p.rows + 7) / 8 * 8 - row_group * 8) * kHalfColumns * 2;  // rows that are not there stay what they were
      const int group = least(place / p.row_tiles * kHalfGroups + least(piece, kHalfGroups - 1), p.w_groups - 1);
      for (int at = split * p.stages / p.splits; at < (split + 1) * p.stages / p.splits; ++at) {
        arrival_wait(empty + slot, static_cast<uint32_t>(phase ^ 1));
        uint8_t* to = shared + slot * kStage;
        if (!rows && piece == 0) arrival_expect(full + slot, kPasses * row_bytes + kHalfGroups * 1024);
        if (!rows && piece < kHalfGroups) {
          bulk_copy(to + kPasses * kPiece + piece * 1024, p.w + (static_cast<int64_t>(group) * p.stages + at) * 1024, 1024, full + slot);
        }
        if (rows && lane < kPasses) {
          const uint16_t* x = p.x + lane * p.x_plane + (static_cast<int64_t>(at) * p.x_groups + row_group) * 512;
          bulk_copy(to + lane * kPiece, reinterpret_cast<const uint8_t*>(x), row_bytes, full + slot);
        }
        if (++slot == kStages) slot = 0, phase ^= 1;
      }
    }
    return;
  }
  const int warpgroup = warp / 4;
  [[maybe_unused]] BestOfRows best;
  best.begin();
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += blocks) {
    const int split = tile / of_split, place = tile - split * of_split;
    float acc[72];
    CARAT_UNROLL for (int i = 0; i < 72; ++i) acc[i] = 0.0f;
    int before = -1;
    for (int at = split * p.stages / p.splits; at < (split + 1) * p.stages / p.splits; ++at) {
      arrival_wait(full + slot, static_cast<uint32_t>(phase));
      short_products<kRows, kPasses>(acc, shared + slot * kStage, warpgroup);
      warpgroup_wait<1>();  // the stage before has been read
      if (before >= 0 && lane == 0) arrival_arrive(empty + before);
      before = slot;
      if (++slot == kStages) slot = 0, phase ^= 1;
    }
    warpgroup_wait<0>();
    if (lane == 0) arrival_arrive(empty + before);
    const int first = place % p.row_tiles * kRows + warp % 4 * 16;
    const bool last = p.row_tiles != 1 || tile + blocks >= tiles;  // of these rows
    if constexpr (kRows == 64) {
      constexpr int kThreads = 32 * kConsumers;
      float* mine = sums + thread_index() % 128;
      if (warpgroup == 1) {
        CARAT_UNROLL for (int i = 0; i < 72; ++i) mine[i * 128] = acc[i];
      }
      team_barrier(1, kThreads);
      if (warpgroup == 0) {
        CARAT_UNROLL for (int i = 0; i < 72; ++i) acc[i] = acc[i] + mine[i * 128];
      }
      team_barrier(1, kThreads);  // they are read
      if (warpgroup == 0) half_epilogue<kKind>(p, acc, first, place / p.row_tiles, lane, split, &best);
    } else {
      half_epilogue<kKind>(p, acc, first + warpgroup * 64, place / p.row_tiles, lane, split, &best);
    }
    if constexpr (kKind == HalfKind::kBest) {
      if (!last) continue;
      if (kRows != 64 || warpgroup == 0) best.leave(p, first + (kRows == 64 ? 0 : warpgroup * 64), lane);
      best.begin();
    }
  }
}

// So few registers that a block comes in while one of close_rows is still there.
#define CARAT_SHORT_KERNEL(name, kind, rows)                                    \
  CARAT_KERNEL_BESIDE(name, HalfGemmParams, 104) {                              \
    if constexpr (kWarpgroups) {                                                \
      if (p.passes == 2) return core_short<HalfKind::kind, rows, 2>(p);         \
      core_short<HalfKind::kind, rows, 1>(p);                                   \
    }                                                                           \
  }
CARAT_SHORT_KERNEL(core_text_64, kText, 64)
CARAT_SHORT_KERNEL(core_text_128, kText, 128)
CARAT_SHORT_KERNEL(core_best_64, kBest, 64)
CARAT_SHORT_KERNEL(core_best_128, kBest, 128)
CARAT_SHORT_KERNEL(core_gated_64, kGated, 64)
CARAT_SHORT_KERNEL(core_gated_128, kGated, 128)
#undef CARAT_SHORT_KERNEL

}  // namespace carat::cuda
