// Reads memory, to say how fast it can be read.
#include "backend/cuda/device/base.cuh"
#include "backend/cuda/params.h"

namespace carat::cuda {

CARAT_KERNEL(read_memory, ReadParams, 256, 4) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * block_threads();
  uint32_t seen = 0;
  CARAT_UNROLL_8 for (int64_t i = static_cast<int64_t>(blockIdx.x) * block_threads() + thread_index(); i < p.words; i += stride) {
    const Words4 four = static_cast<const Words4*>(p.data)[i];
    seen |= four.x ^ four.y ^ four.z ^ four.w;
  }
  if (seen != 0) *p.sink = seen;  // never: the memory is filled with zeros; but the compiler does not know
}

}  // namespace carat::cuda
