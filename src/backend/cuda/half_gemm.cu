// Halves times a matrix of halves (half_params.h), float32 sums: 256 rows x 144 outputs a block.
//   half_wide    sm_90 (core_*: the text model's, in bf16): four warps copy stages of 64 columns, in a ring, for two warpgroups of 128 rows each (or 64); whatever
//                it copies lies in memory as wgmma reads it. Two blocks have the same rows, of which each copies half for both: what
//                the second-level cache has to give is what bounds these products. They take one pair of tiles after the other.
//   half_narrow  elsewhere: four warps of 32 rows, mma.m16n8k16, copies beside the products.
//   finish_*     what becomes of sums that another kernel (of quantised weights) has left.
// Pieces beyond the first ones are more columns: x second w, x w second.
#include "backend/cuda/device/cores_mma.cuh"
#include "backend/cuda/device/gemm.cuh"
#include "backend/cuda/device/halves.cuh"
#include "backend/cuda/device/heads.cuh"

namespace carat::cuda {

inline constexpr int kPair = kClusters ? kWideBlocks : 1;  // blocks that have the same rows

// Where stage `at` of a tile's products begins.
struct HalfStage {
  const uint8_t *x, *w;
};
CARAT_DEVICE HalfStage half_stage(const HalfGemmParams& p, int at, int row_group, int group) {
  const int pass = at / p.stages, stage = at - pass * p.stages;
  const uint16_t* x = p.x + (pass == 1 ? p.x_plane : 0);
  const uint8_t* w = p.w + (pass == 2 ? p.w_plane : 0);
  return {reinterpret_cast<const uint8_t*>(x + (static_cast<int64_t>(stage) * p.x_groups + row_group) * 512),
          w + (static_cast<int64_t>(group) * p.stages + stage) * 1024};
}

// 64 kAtoms rows for each of the two warpgroups, 8 kGroups outputs. leave(tile's first row, its place among those of outputs, sums) is called for
// each 16 rows of a warp where kKind does not say what becomes of them.
template <HalfKind kKind, bool kBf16, int kAtoms = 2, int kGroups = kHalfGroups, class Leave = int>
CARAT_DEVICE void half_wide(const HalfGemmParams& p, const Leave& leave = 0) {
  if constexpr (kWarpgroups) {
    constexpr int kRows = 128 * kAtoms, kX = kRows * kHalfColumns * 2, kStage = half_stage_bytes(kRows, 8 * kGroups),
                  kStages = wide_stages(kRows, 8 * kGroups);
    constexpr int kOwnX = kX / kPair;  // what a block copies
    constexpr int kConsumers = 8;
    uint8_t* shared = shared_memory();
    auto* full = reinterpret_cast<uint64_t*>(shared + kStages * kStage);
    uint64_t* empty = full + kStages;
    const int warp = warp_index(), lane = lane_index(), rank = cluster_rank();
    next_may_begin();
    begin_stages(full, empty, kStages, kConsumers * kPair);
    cluster_barrier();
    previous_wait();
    const int tiles = p.row_tiles * ((p.output_tiles + kPair - 1) / kPair), all = p.stages * p.passes;  // of both blocks
    const int first_tile = static_cast<int>(blockIdx.x) / kPair, step = static_cast<int>(gridDim.x) / kPair;
    int slot = 0, phase = 0;
    if (warp >= kConsumers) {
      fewer_registers<40>();
      // A lane's copy costs its warp some 80 clocks: four warps share them.
      const int piece = lane * 4 + warp - kConsumers;
      for (int tile = first_tile; tile < tiles; tile += step) {
        const int row_group = tile % p.row_tiles * (kRows / 8), outputs = tile / p.row_tiles * kPair + rank;
        const int group = least(outputs * kGroups + least(piece, kGroups - 1), p.w_groups - 1);
        for (int at = 0; at < all; ++at) {
          arrival_wait(empty + slot, static_cast<uint32_t>(phase ^ 1));
          warp_barrier();
          if (piece == 0) arrival_expect(full + slot, kStage);
          const HalfStage from = half_stage(p, at, row_group, group);
          uint8_t* to = shared + slot * kStage;
          if (piece < kGroups) bulk_copy(to + kX + piece * 1024, from.w, 1024, full + slot);
          warp_barrier();
          if (piece == kGroups) cluster_copy(to + rank * kOwnX, from.x + rank * kOwnX, kOwnX, full + slot, (1 << kPair) - 1);
          if (++slot == kStages) slot = 0, phase ^= 1;
        }
      }
      return;
    }
    more_registers<232>();
    const int first = warp / 4 * 64 * kAtoms;
    const auto release = [&](int at) {  // both blocks copy to it
      if (lane < kPair) cluster_arrive(empty + at, lane);
    };
    [[maybe_unused]] BestOfRows best[kAtoms];
    CARAT_UNROLL for (int m = 0; m < kAtoms; ++m) best[m].begin();
    for (int tile = first_tile; tile < tiles; tile += step) {
      float acc[kAtoms][4 * kGroups];
      CARAT_UNROLL for (int m = 0; m < kAtoms; ++m) {
        CARAT_UNROLL for (int i = 0; i < 4 * kGroups; ++i) acc[m][i] = 0.0f;
      }
      int before = -1;
      for (int at = 0; at < all; ++at) {
        arrival_wait(full + slot, static_cast<uint32_t>(phase));
        const uint8_t* x = shared + slot * kStage + first * kHalfColumns * 2;
        const uint8_t* w = shared + slot * kStage + kX;
        warpgroup_begin();
        CARAT_UNROLL for (int k = 0; k < kHalfColumns / 16; ++k) {
          CARAT_UNROLL for (int m = 0; m < kAtoms; ++m) {
            const uint8_t* rows = x + m * 64 * kHalfColumns * 2 + k * 256;
            if constexpr (8 * kGroups == kTurnedHead) {
              warpgroup_mma_head(acc[m], cores_at(rows, 1024), cores_at(w + k * 256, 1024));
            } else if constexpr (kGroups == kThinGroups) {
              warpgroup_mma_bf16_32(acc[m], rows, w + k * 256, 1024, false);
            } else if constexpr (kBf16) {
              warpgroup_mma_bf16(acc[m], rows, w + k * 256, 1024, false);
            } else {
              warpgroup_mma_f16(acc[m], rows, w + k * 256, 1024, false);
            }
          }
        }
        warpgroup_commit();
        warpgroup_wait<1>();  // the stage before has been read
        if (before >= 0) release(before);
        before = slot;
        if (++slot == kStages) slot = 0, phase ^= 1;
      }
      warpgroup_wait<0>();
      release(before);
      CARAT_UNROLL for (int m = 0; m < kAtoms; ++m) {
        const int row0 = tile % p.row_tiles * kRows + first + m * 64 + warp % 4 * 16;
        if constexpr (kKind == HalfKind::kTurned) {
          leave(row0, tile / p.row_tiles * kPair + rank, acc[m]);
        } else {
          half_epilogue<kKind, kGroups>(p, acc[m], row0, tile / p.row_tiles * kPair + rank, lane, 0, best + m);
        }
        if constexpr (kKind == HalfKind::kBest) {
          if (p.row_tiles == 1 && tile + step < tiles) continue;  // the same rows follow
          best[m].leave(p, row0, lane);
          best[m].begin();
        }
      }
    }
    cluster_barrier();  // a block stays while its neighbour arrives at it
  }
}

template <HalfKind kKind>
CARAT_DEVICE void half_narrow(const HalfGemmParams& p) {
  constexpr int kX = kNarrowRows * kHalfColumns * 2, kStage = half_stage_bytes(kNarrowRows);
  uint8_t* shared = shared_memory();
  auto* arrivals = reinterpret_cast<uint64_t*>(shared + kNarrowStages * kStage);
  const int warp = warp_index(), lane = lane_index(), g = lane >> 2, t = lane & 3;
  const int tile = static_cast<int>(blockIdx.x);
  const int row_group = tile % p.row_tiles * (kNarrowRows / 8), output_tile = tile / p.row_tiles;
  const int stages = p.stages * p.passes;
  gemm_begin(arrivals);
  const auto fetch = [&](int at) {
    const HalfStage from = half_stage(p, at, row_group, least(output_tile * kHalfGroups + least(lane, kHalfGroups - 1), p.w_groups - 1));
    GemmPiece piece;
    if (lane < kHalfGroups) piece = {from.w, 0, kX + lane * 1024, 1024};
    if (lane == kHalfGroups) piece = {from.x, 0, 0, kX};
    piece.fetch(shared + (at & 1) * kStage, arrivals + (at & 1), kHalfGroups + 1, kStage);
  };
  float acc[2][72];
  CARAT_UNROLL for (int m = 0; m < 2; ++m) {
    CARAT_UNROLL for (int i = 0; i < 72; ++i) acc[m][i] = 0.0f;
  }
  fetch(0);
  for (int at = 0; at < stages; ++at) {
    const uint8_t* stage = shared + (at & 1) * kStage;
    gemm_wait(arrivals + (at & 1), (at >> 1) & 1);
    block_barrier();
    if (at + 1 < stages) fetch(at + 1);
    CARAT_UNROLL_1 for (int k = 0; k < kHalfColumns / 16; ++k) {
      uint32_t x[2][4];
      CARAT_UNROLL for (int m = 0; m < 2; ++m) {
        const uint8_t* from = stage + (warp * 4 + m * 2) * 1024 + k * 256 + g * 16 + t * 4;
        x[m][0] = load<uint32_t>(from), x[m][1] = load<uint32_t>(from + 1024);
        x[m][2] = load<uint32_t>(from + 128), x[m][3] = load<uint32_t>(from + 1024 + 128);
      }
      CARAT_UNROLL for (int j = 0; j < kHalfGroups; ++j) {
        const uint8_t* from = stage + kX + j * 1024 + k * 256 + g * 16 + t * 4;
        const auto b0 = load<uint32_t>(from), b1 = load<uint32_t>(from + 128);
        CARAT_UNROLL for (int m = 0; m < 2; ++m) mma_f16(acc[m] + 4 * j, x[m], b0, b1);
      }
    }
  }
  CARAT_UNROLL for (int m = 0; m < 2; ++m) {
    half_epilogue<kKind>(p, acc[m], row_group * 8 + warp * 32 + m * 16, output_tile, lane);
  }
}

// A warp for 16 rows x 144 outputs.
template <HalfKind kKind>
CARAT_DEVICE void half_finish(const HalfGemmParams& p) {
  const int lane = lane_index(), g = lane >> 2, t = lane & 3;
  const int row0 = (static_cast<int>(blockIdx.x) * 4 + warp_index()) * 16, output_tile = static_cast<int>(blockIdx.y);
  float acc[72];
  CARAT_UNROLL for (int j = 0; j < kHalfGroups; ++j) {
    const int column = output_tile * kHalfOutputs + 8 * j + 2 * t;
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      const int row = row0 + g + 8 * half;
      Floats2 two{0.0f, 0.0f};
      if (row < p.rows && column < p.sums_stride) two = load<Floats2>(p.sums + static_cast<int64_t>(row) * p.sums_stride + column);
      acc[4 * j + 2 * half] = two.x, acc[4 * j + 2 * half + 1] = two.y;
    }
  }
  half_epilogue<kKind>(p, acc, row0, output_tile, lane);
}

#define CARAT_HALF_KERNELS(kind)                                                                                \
  CARAT_KERNEL_OF_CLUSTERS(half_wide_##kind, HalfGemmParams, kWideThreads, kPair) { half_wide<HalfKind::kind, false>(p); }      \
  CARAT_KERNEL(half_narrow_##kind, HalfGemmParams, kNarrowThreads, 1) { half_narrow<HalfKind::kind>(p); }       \
  CARAT_KERNEL(finish_##kind, HalfGemmParams, 128, 1) { half_finish<HalfKind::kind>(p); }
CARAT_HALF_KERNELS(kStore)
CARAT_HALF_KERNELS(kAdd)
CARAT_HALF_KERNELS(kGelu)
CARAT_HALF_KERNELS(kGelu2)
CARAT_HALF_KERNELS(kGeluRows)
CARAT_HALF_KERNELS(kHeads)
#undef CARAT_HALF_KERNELS

CARAT_KERNEL_OF_CLUSTERS(core_text_256, HalfGemmParams, kWideThreads, kPair) { half_wide<HalfKind::kText, true>(p); }
CARAT_KERNEL_OF_CLUSTERS(core_best_256, HalfGemmParams, kWideThreads, kPair) { half_wide<HalfKind::kBest, true>(p); }
CARAT_KERNEL_OF_CLUSTERS(core_gated_256, HalfGemmParams, kWideThreads, kPair) { half_wide<HalfKind::kGated, true>(p); }
CARAT_KERNEL_OF_CLUSTERS(core_text_pairs, HalfGemmParams, kWideThreads, kPair) { half_wide<HalfKind::kText, true, 1>(p); }
CARAT_KERNEL_OF_CLUSTERS(core_text_thin, HalfGemmParams, kWideThreads, kPair) { half_wide<HalfKind::kText, true, 1, kThinGroups>(p); }
CARAT_KERNEL_OF_CLUSTERS(core_best_pairs, HalfGemmParams, kWideThreads, kPair) { half_wide<HalfKind::kBest, true, 1>(p); }
CARAT_KERNEL_OF_CLUSTERS(core_gated_pairs, HalfGemmParams, kWideThreads, kPair) { half_wide<HalfKind::kGated, true, 1>(p); }
CARAT_KERNEL_OF_CLUSTERS(core_heads, CoreHeadsParams, kWideThreads, kPair) {
  half_wide<HalfKind::kTurned, true, 1, kTurnedHead / 8>(p.product, [&](int row0, int place, const float* sums) {
    const int head = p.first_head + place;
    if (place * (kTurnedHead / 8) < p.product.w_groups) leave_head(p.heads, head, row0, p.product.rows, sums);
  });
}

}  // namespace carat::cuda
