// Products of 64 or 128 rows in bf16 (core_short.cu, core_split.cu): four warps copy stages of 64 columns, weights and both pieces of every
// row, so that weights are read once, and long before the rows are there (three of the warps wait for nothing). Of 64 rows each of
// the two warpgroups multiplies one piece, of 128 both of its 64.
#pragma once

#include "backend/cuda/device/gemm.cuh"
#include "backend/cuda/device/halves.cuh"
#include "backend/cuda/half_params.h"

namespace carat::cuda {

inline constexpr int kShortConsumers = 8, kShortWeightCopiers = 3;  // warps; one more copies rows

// Which stage of the ring is next, and which turn of it.
struct StageWay {
  int slot = 0, phase = 0;
  CARAT_METHOD void next(int ring) {
    if (++slot == ring) slot = 0, phase ^= 1;
  }
};

template <int kGroups>
CARAT_DEVICE void short_mma(float* acc, const uint8_t* x, const uint8_t* w) {
  static_assert(kGroups == kHalfGroups || kGroups == kSlimGroups || kGroups == kBroadGroups);
  if constexpr (kGroups == kHalfGroups) {
    warpgroup_mma_bf16(acc, x, w, 1024, false);
  } else if constexpr (kGroups == kSlimGroups) {
    warpgroup_mma_bf16_112(acc, x, w, 1024, false);
  } else {
    warpgroup_mma_bf16_224(acc, x, w, 1024, false);
  }
}

// Products of one stage. kPasses: pieces of a row; kGroups: of 8 outputs.
template <int kRows, int kPasses, int kGroups>
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
      short_mma<kGroups>(acc, x + piece * kPiece + (first + k) * 256, w + (first + k) * 256);
    }
  }
  warpgroup_commit();
}

// A stage has been read, by all lanes of a warp. kPair: blocks of a cluster, which copy to each other.
template <int kPair>
CARAT_DEVICE void release_stage(uint64_t* empty, int lane) {
  if constexpr (kPair == 1) {
    if (lane == 0) arrival_arrive(empty);
  } else {
    if (lane < kPair) cluster_arrive(empty, lane);
  }
}

// A warpgroup's sums of a tile's stages.
template <int kRows, int kPasses, int kGroups, int kPair = 1>
CARAT_DEVICE void short_sums(float* acc, const uint8_t* shared, uint64_t* full, uint64_t* empty, int ring, StageWay& way, int stages,
                             int warpgroup, int lane) {
  int before = -1;
  for (int at = 0; at < stages; ++at) {
    arrival_wait(full + way.slot, static_cast<uint32_t>(way.phase));
    short_products<kRows, kPasses, kGroups>(acc, shared + way.slot * short_stage_bytes(kRows, kPasses, kGroups), warpgroup);
    warpgroup_wait<1>();  // the stage before has been read
    if (before >= 0) release_stage<kPair>(empty + before, lane);
    before = way.slot;
    way.next(ring);
  }
  warpgroup_wait<0>();
  release_stage<kPair>(empty + before, lane);
}

// Sums of all warps lie in shared memory then, [2 warpgroups][kSums][128 threads], and loops without a copy of their code for each sum finish
// them: a block comes to that code once, and fetching much of it takes longer than running it.
template <int kSums>
CARAT_DEVICE void put_sums(float* sums, const float* acc) {
  float* mine = sums + thread_index() / 128 * kSums * 128 + thread_index() % 128;
  CARAT_UNROLL for (int i = 0; i < kSums; ++i) mine[i * 128] = acc[i];
}
// Which rows a thread finishes, and of which groups of outputs: every kStep-th from kFirst on. Of 64 rows both warpgroups have the same.
template <int kRows, int kSums>
struct ShortShare {
  static constexpr bool kShared = kRows == 64;
  static constexpr int kStep = kShared ? 2 : 1;
  int first, row;     // group; row of the tile, and the one 8 below
  const float* from;  // of its lane

  CARAT_METHOD void begin(const float* sums) {
    const int warpgroup = warp_index() / 4;
    first = kShared ? warpgroup : 0;
    row = (kShared ? 0 : warpgroup * 64) + warp_index() % 4 * 16 + (lane_index() >> 2);
    from = sums + (kShared ? 0 : warpgroup * kSums * 128) + thread_index() % 128;
  }
  CARAT_METHOD float sum(int i) const {
    if constexpr (kShared) return from[i * 128] + from[(kSums + i) * 128];
    return from[i * 128];
  }
};

// A group of 8 outputs: sums of two columns of two rows.
CARAT_DEVICE void leave_outputs(const HalfGemmParams& p, const float* sum, int row0, int group, int split) {
  const int t = lane_index() & 3, left = p.outputs - (group * kTileRows + 2 * t);
  if (group >= p.w_groups) return;
  CARAT_UNROLL for (int half = 0; half < 2; ++half) {
    const int row = row0 + 8 * half;
    if (row >= p.rows) continue;
    float* out = p.out + (static_cast<int64_t>(split) * p.rows + row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + 2 * t;
    if (left > 1 && (p.out_stride & 1) == 0) {
      *reinterpret_cast<Floats2*>(out) = {sum[2 * half], sum[2 * half + 1]};
      continue;
    }
    if (left > 0) out[0] = sum[2 * half];
    if (left > 1) out[1] = sum[2 * half + 1];
  }
}

// What a copying warp does. kPair: blocks of a cluster that multiply the same weights, of which each copies its part to all.
template <int kRows, int kPasses, int kGroups, int kPair = 1>
struct ShortCopies {
  StageWay way;
  int lane = 0, piece = 0;
  bool rows = false;

  CARAT_METHOD void begin() {
    const int of = warp_index() - kShortConsumers;
    lane = lane_index();
    rows = of == kShortWeightCopiers;
    piece = lane * kShortWeightCopiers + of;  // groups of weights; a lane's copy costs its warp some 80 clocks
    if (rows) previous_wait();
  }
  CARAT_METHOD void bring(const HalfGemmParams& p, uint8_t* shared, uint64_t* full, uint64_t* empty, int row_tile, int output_tile, int first,
                          int end) {
    constexpr int kPiece = short_piece_bytes(kRows), kStage = short_stage_bytes(kRows, kPasses, kGroups), kOwnGroups = kGroups / kPair;
    const int row_group = row_tile * (kRows / 8);
    const int row_bytes = least(kRows, (p.rows + 7) / 8 * 8 - row_group * 8) * kHalfColumns * 2;  // rows that are not there stay what they were
    const int own = (kPair == 1 ? 0 : cluster_rank() * kOwnGroups) + least(piece, kOwnGroups - 1);  // of the stage's groups
    const int group = least(output_tile * kGroups + own, p.w_groups - 1);
    for (int at = first; at < end; ++at) {
      arrival_wait(empty + way.slot, static_cast<uint32_t>(way.phase ^ 1));
      warp_barrier();
      uint8_t* to = shared + way.slot * kStage;
      if (!rows && piece == 0) arrival_expect(full + way.slot, kPasses * row_bytes + kGroups * 1024);
      if (!rows && piece < kOwnGroups) {
        uint8_t* place = to + kPasses * kPiece + own * 1024;
        const uint8_t* from = p.w + (static_cast<int64_t>(group) * p.stages + at) * 1024;
        if constexpr (kPair == 1) {
          bulk_copy(place, from, 1024, full + way.slot);
        } else {
          cluster_copy(place, from, 1024, full + way.slot, (1 << kPair) - 1);
        }
      }
      if (rows && lane < kPasses) {
        const uint16_t* x = p.x + lane * p.x_plane + (static_cast<int64_t>(at) * p.x_groups + row_group) * 512;
        bulk_copy(to + lane * kPiece, reinterpret_cast<const uint8_t*>(x), row_bytes, full + way.slot);
      }
      way.next(p.ring);
    }
  }
};

}  // namespace carat::cuda
