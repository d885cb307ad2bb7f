// A matrix times rows that are neither few (few.cu) nor enough to fill the device with tiles (gemm.cu): a block for 8 or 32 outputs,
// 16 rows at a time; its warps take segments of 128 columns in rounds, and after each round the segments are added in their order.
#include "backend/cuda/device/product.cuh"

namespace carat::cuda {

// kGroups neighbouring groups of 8 outputs a block; blockIdx.y: 64 rows of x, 16 of them at a time.
template <TileType kType, int kGroups>
CARAT_DEVICE void product_fragments(const ProductParams& p) {
  next_may_begin();
  previous_wait();
  auto* part = reinterpret_cast<float*>(shared_memory());  // [warps][16 rows][8 kGroups]
  constexpr int kOutputs = 8 * kGroups;
  const int first_group = static_cast<int>(blockIdx.x) * kGroups;
  const int first_row = static_cast<int>(blockIdx.y) * 64;
  const int tiles = (least(64, p.rows - first_row) + 15) / 16;
  const int threads = block_threads(), warps = threads / 32, warp = warp_index(), lane = lane_index();
  constexpr int kMost = kOutputs * 16 / 128;  // outputs of a thread: at least four warps
  for (int m = 0; m < tiles; ++m) {
    float total[kMost];
    CARAT_UNROLL for (int i = 0; i < kMost; ++i) total[i] = 0.0f;
    for (int first = 0; first < p.matrix.chunks; first += warps) {
      const int chunk = first + warp;
      if (chunk < p.matrix.chunks) {
        RowFragments<kType> x;
        x.load_of(p.x, chunk, first_row / 16 + m, lane);
        CARAT_UNROLL for (int n = 0; n < kGroups; ++n) {
          float acc[4];
          segment_of_fragments<kType>(tile_at(p.matrix, least(first_group + n, p.matrix.groups - 1), chunk), x, lane, acc);
          float* to = part + (warp * 16 + (lane >> 2)) * kOutputs + n * 8 + (lane & 3) * 2;
          to[0] = acc[0];
          to[1] = acc[1];
          to[8 * kOutputs] = acc[2];
          to[8 * kOutputs + 1] = acc[3];
        }
      }
      block_barrier();
      const int count = least(warps, p.matrix.chunks - first);
      CARAT_UNROLL for (int k = 0; k < kMost; ++k) {
        const int mine = thread_index() + k * threads;
        if (mine >= 16 * kOutputs) continue;
        for (int i = 0; i < count; ++i) total[k] = total[k] + part[i * 16 * kOutputs + mine];
      }
      block_barrier();
    }
    CARAT_UNROLL for (int k = 0; k < kMost; ++k) {
      const int mine = thread_index() + k * threads;
      const int row = first_row + m * 16 + mine / kOutputs, group = first_group + mine % kOutputs / 8, r = mine % 8;
      if (mine < 16 * kOutputs && row < p.rows && group * kTileRows + r < p.matrix.rows) {
        p.out[static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + r] =
            factor_of<kType>(p.x, row) * total[k];
      }
    }
  }
}

#define CARAT_PRODUCT(name)                                                                               \
  CARAT_KERNEL(product_fragments_##name, ProductParams, 512, 1) { product_fragments<TileType::k##name, 1>(p); } \
  CARAT_KERNEL(product_wide_##name, ProductParams, 512, 1) { product_fragments<TileType::k##name, 4>(p); }
CARAT_CUDA_TYPES(CARAT_PRODUCT)
#undef CARAT_PRODUCT

}  // namespace carat::cuda
