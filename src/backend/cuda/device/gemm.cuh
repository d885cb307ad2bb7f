// What the products with many rows share: how a stage comes into shared memory, and how results leave.
#pragma once

#include "backend/cuda/device/product.cuh"

namespace carat::cuda {

// A stage's pieces on their way: a lane of the first warp for each, by the copy engine, or all threads, 16 bytes at a time.
struct GemmPieces {
  uint8_t* stage;
  uint64_t* arrival;

  CARAT_METHOD void expect(int bytes) const {
    if constexpr (kBulkCopies) {
      if (thread_index() == 0) arrival_expect(arrival, static_cast<uint32_t>(bytes));
      if (warp_index() == 0) warp_barrier();
    }
  }
  // `piece`: a number of its own below 32.
  CARAT_METHOD void copy(int piece, int at, const void* from, int bytes) const {
    if constexpr (kBulkCopies) {
      if (thread_index() == piece) bulk_copy(stage + at, from, static_cast<uint32_t>(bytes), arrival);
    } else {
      for (int i = thread_index() * 16; i < bytes; i += block_threads() * 16) {
        copy_async_16(stage + at + i, static_cast<const uint8_t*>(from) + i);
      }
    }
  }
  CARAT_METHOD void commit() const {
    if constexpr (!kBulkCopies) copy_async_commit();
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
// Before a block_barrier: what this thread is to see.
CARAT_DEVICE void gemm_wait(uint64_t* arrival, int parity) {
  if constexpr (kBulkCopies) {
    arrival_wait(arrival, static_cast<uint32_t>(parity));
  } else {
    copy_async_wait<0>();
  }
}

// Two neighbouring outputs of a row.
CARAT_DEVICE void gemm_store(const ProductParams& p, int row, int group, int t, float first, float second) {
  float* out = p.out + static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + 2 * t;
  const int left = p.matrix.rows - (group * kTileRows + 2 * t);
  if (left > 1 && (p.out_stride & 1) == 0) {
    *reinterpret_cast<Floats2*>(out) = {first, second};
    return;
  }
  if (left > 0) out[0] = first;
  if (left > 1) out[1] = second;
}

}  // namespace carat::cuda
