// What the products with many rows share: how a stage comes into shared memory, and how results leave.
#pragma once

#include "backend/cuda/device/product.cuh"

namespace carat::cuda {

// The pieces of a stage in memory: lane i of every warp knows the i-th. They are fetched chunk after chunk: where there is a copy
// engine by the lane of one of the warps, which take turns (a copy costs its warp some 80 clocks), else by all threads.
struct GemmPiece {
  const uint8_t* from = nullptr;  // of the next chunk
  int64_t stride = 0;
  int32_t at = 0, bytes = 0;

  CARAT_METHOD void fetch(uint8_t* stage, uint64_t* arrival, int pieces, int all_bytes) {
    if constexpr (kBulkCopies) {
      if (thread_index() == 0) arrival_expect(arrival, static_cast<uint32_t>(all_bytes));
      if (bytes != 0 && lane_index() % (block_threads() / 32) == warp_index()) {
        bulk_copy(stage + at, from, static_cast<uint32_t>(bytes), arrival);
      }
    } else {
      for (int piece = 0; piece < pieces; ++piece) {
        const auto address = from_lane(reinterpret_cast<uint64_t>(from), piece);
        const int to = from_lane(at, piece), count = from_lane(bytes, piece);
        for (int i = thread_index() * 16; i < count; i += block_threads() * 16) {
          copy_async_16(stage + to + i, reinterpret_cast<const uint8_t*>(address) + i);
        }
      }
      copy_async_commit();
    }
    from += stride;
  }
};

// Two stages: their arrivals.
CARAT_DEVICE void gemm_begin(uint64_t* arrivals) {
  if constexpr (kBulkCopies) {
    if (thread_index() == 0) {
      arrival_init(arrivals, 1);
      arrival_init(arrivals + 1, 1);
      arrival_fence();
    }
    block_barrier();
  }
}
// A ring of stages between warps that bring them and warps that read them: `full` has one arrival a round, `empty` one of
// each reader.
CARAT_DEVICE void begin_stages(uint64_t* full, uint64_t* empty, int stages, int readers) {
  if (thread_index() == 0) {
    for (int i = 0; i < stages; ++i) {
      arrival_init(full + i, 1);
      arrival_init(empty + i, readers);
    }
    arrival_fence();
  }
  block_barrier();
}
// Before a block_barrier: what this thread is to see.
CARAT_DEVICE void gemm_wait(uint64_t* arrival, int parity) {
  if constexpr (kBulkCopies) {
    arrival_wait(arrival, static_cast<uint32_t>(parity));
  } else {
    copy_async_wait<0>();
  }
}

// Two neighbouring outputs of a row. `whole`: all of the block's rows and outputs are there, and pairs of floats aligned.
CARAT_DEVICE bool gemm_whole(const ProductParams& p, int first_tile, int tiles, int first_group, int groups) {
  return (first_tile + tiles) * 16 <= p.rows && (first_group + groups) * kTileRows <= p.matrix.rows && (p.out_stride & 1) == 0;
}
CARAT_DEVICE void gemm_store(const ProductParams& p, bool whole, int row, int group, int t, float first, float second) {
  if (whole) {
    float* out = p.out + static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + 2 * t;
    *reinterpret_cast<Floats2*>(out) = {first, second};
    return;
  }
  if (row >= p.rows) return;
  float* out = p.out + static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + 2 * t;
  const int left = p.matrix.rows - (group * kTileRows + 2 * t);
  if (left > 0) out[0] = first;
  if (left > 1) out[1] = second;
}

}  // namespace carat::cuda
