// The products of a step of several rows: which kernel multiplies which shape.
#include <algorithm>

#include "backend/cuda/forward.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

constexpr int64_t kNarrowProductRows =
    192;  // more than kFragmentRows, up to these, go through shared memory only where that fills the device

}  // namespace

void Forward::product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows) {
  ProductParams p{};
  p.matrix = part.matrix;
  p.x = x;
  p.out = out;
  p.out_stride = static_cast<int32_t>(out_stride);
  p.group_step = part.group_step;
  p.group_first = part.group_first;
  p.rows = static_cast<int32_t>(rows);
  const auto type = static_cast<size_t>(part.matrix.type);
  const int32_t rounds = div_ceil(part.matrix.chunks, 16);
  const auto warps = static_cast<uint32_t>(std::max(4, div_ceil(part.matrix.chunks, rounds)));
  const auto groups = static_cast<uint32_t>(part.matrix.groups);
  if (x.fragments == 2 && !is_quantised(part.matrix)) {
    core_product(part, x, out, out_stride, rows, 1, nullptr);
    return;
  }
  const uint32_t whole_tiles = groups / kGemmGroups * static_cast<uint32_t>(div_ceil<int64_t>(rows, 64));
  if (x.fragments == 0) {
    const auto kernel = rows == 1 ? kernels_.product_1[type] : kernels_.product_4[type];
    launch(kernel, p, groups, 1, 1, warps * 32, warps * (rows == 1 ? 1 : 4) * 8 * sizeof(float));
  } else if (rows > kFragmentRows && (rows > kNarrowProductRows || whole_tiles >= multiprocessors_)) {
    const bool quantised = is_quantised(part.matrix);
    const int32_t tall = 16 * (quantised ? kGemmTiles : kFloatTiles);
    launch(kernels_.gemm[type], p, div_ceil(groups, static_cast<uint32_t>(quantised ? kGemmGroups : kFloatGroups)),
           static_cast<uint32_t>(div_ceil<int64_t>(rows, tall)), 1, quantised ? kGemmThreads : kFloatThreads,
           static_cast<size_t>(gemm_shared_bytes(part.matrix.type)));
  } else {
    const bool wide = groups >= 8 * multiprocessors_;  // four groups a block read the rows once
    launch(wide ? kernels_.product_wide[type] : kernels_.product_fragments[type], p,
           wide ? div_ceil(groups, 4u) : groups, static_cast<uint32_t>(div_ceil<int64_t>(rows, 64)), 1, warps * 32,
           warps * 16 * (wide ? 32 : 8) * sizeof(float));
  }
}

// Parts that a sum over columns falls into, so that few rows keep every multiprocessor busy.
int32_t Forward::most_splits(int32_t outputs, int64_t rows) const {
  const int64_t tiles = div_ceil<int64_t>(rows, kShortRows) * div_ceil(div_ceil(outputs, kTileRows), kHalfGroups);
  return static_cast<int32_t>(std::clamp<int64_t>(int64_t{multiprocessors_} / tiles, 1, 16));
}

int32_t Forward::core_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows,
                              int32_t most_splits, const Rounded* gated) {
  constexpr double kShortCost = 0.58;  // of a block of 128 rows, in blocks of 256
  constexpr int32_t kLeastStages = 6;  // of a part
  HalfGemmParams p{};
  p.x = reinterpret_cast<const uint16_t*>(x.pieces);
  p.x_groups = core_groups(x.rows16);
  p.x_plane = static_cast<int64_t>(p.x_groups) * x.chunks * kTileColumns * kTileRows;
  p.w = part.matrix.data;
  p.w_groups = part.matrix.groups;
  p.stages = 2 * part.matrix.chunks;
  p.passes = x.core_planes;
  p.rows = static_cast<int32_t>(rows);
  p.outputs = part.matrix.rows;
  p.out = out;
  p.out_stride = static_cast<int32_t>(out_stride);
  p.group_step = part.group_step;
  p.group_first = part.group_first;
  p.splits = std::max(1, std::min(most_splits, p.stages * p.passes / kLeastStages));
  p.output_tiles = div_ceil(part.matrix.groups, kHalfGroups);
  const auto turns = [&](int32_t tall) {
    return div_ceil<int64_t>(div_ceil<int64_t>(rows, tall) * p.output_tiles, int64_t{multiprocessors_});
  };
  const bool tall =
      p.splits == 1 && static_cast<double>(turns(kWideRows)) <= kShortCost * static_cast<double>(turns(kShortRows));
  const int32_t of_block = tall ? kWideRows : kShortRows;
  p.row_tiles = static_cast<int32_t>(div_ceil<int64_t>(rows, of_block));
  if (gated != nullptr) p.gated = *gated;
  const Device::Kernel kernel = gated != nullptr ? (tall ? kernels_.core_gated_256 : kernels_.core_gated_128)
                                                 : (tall ? kernels_.core_text_256 : kernels_.core_text_128);
  const auto blocks = static_cast<uint32_t>(p.row_tiles * p.output_tiles * p.splits);
  launch(kernel, p, std::min(blocks, multiprocessors_), 1, 1, kWideThreads, static_cast<size_t>(wide_bytes(of_block)));
  return p.splits;
}

// A product whose parts close_rows adds.
int32_t Forward::summed_product(const ProductPart& part, const Rounded& x, int64_t rows) {
  if (x.fragments == 2 && !is_quantised(part.matrix)) {
    return core_product(part, x, at<float>(projected_), config_.width, rows, most_splits(config_.width, rows), nullptr);
  }
  product(part, x, at<float>(projected_), config_.width, rows);
  return 1;
}

}  // namespace carat::cuda
