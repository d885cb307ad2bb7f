// The products of a step of several rows: which kernel multiplies which shape.
#include <algorithm>

#include "backend/cuda/forward.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

constexpr int64_t kNarrowProductRows =
    192;  // more than kFewRows, up to these, go through shared memory only where that fills the device

// Where the outputs of a part go, and of how many rows: what every kernel of products is told.
template <class Params>
Params placed(const ProductPart& part, float* out, int64_t out_stride, int64_t rows) {
  Params p{};
  p.out = out;
  p.out_stride = static_cast<int32_t>(out_stride);
  p.group_step = part.group_step;
  p.group_first = part.group_first;
  p.rows = static_cast<int32_t>(rows);
  return p;
}

}  // namespace

// Of few rows: how many groups of 8 outputs a block has, how many chunks of them at a time, how many tiles of 8 rows.
Forward::FewShape Forward::few_shape(const TileMatrix& matrix, int64_t rows, bool gated, bool integers) const {
  constexpr int32_t kDeepChunks = 24;            // more than so many at a time
  constexpr size_t kMultiprocessorBytes = 1024;  // that a block takes beside its own
  const auto row_tiles = static_cast<int32_t>(div_ceil<int64_t>(rows, 8));
  const auto blocks = [&](int32_t groups) { return div_ceil(matrix.groups, groups); };
  const auto places = static_cast<int32_t>(multiprocessors_);
  FewShape shape;
  const auto bytes = [&](int32_t chunks) {
    return static_cast<size_t>(few_shared_bytes(matrix.type, shape.groups, chunks, shape.buffers));
  };
  const size_t half = (shared_bytes_ - kMultiprocessorBytes) / 2;
  shape.buffers = row_tiles > 1 ? 2 : 1;
  if (gated) {
    shape.groups = integers ? 8 : 4;
    shape.round = matrix.chunks;
    if (bytes(shape.round) > half) shape.buffers = 1;
    if (bytes(shape.round) > shared_bytes_) return {};
  } else {
    // Rows are read by as many blocks as there are groups of outputs, so many rows want large groups.
    shape.groups = blocks(8) >= places ? 8 : 2;
    if (row_tiles >= 16 && shape.groups == 2) shape.groups = 4;
    shape.deep = matrix.chunks > kDeepChunks;
    const auto fits = [&](int32_t chunks) { return bytes(chunks) <= (shape.deep ? shared_bytes_ : half); };
    while (shape.groups > 2 && !fits(matrix.chunks)) shape.groups /= 2;
    if (!fits(matrix.chunks)) shape.buffers = 1;
    int32_t rounds = 1;
    while (!fits(div_ceil(matrix.chunks, rounds))) ++rounds;
    shape.round = div_ceil(matrix.chunks, rounds);
  }
  const int32_t most_warps = (shape.deep ? kDeepThreads : kFewThreads) / 32;
  shape.warps =
      static_cast<uint32_t>(std::max(kFewLeastThreads / 32, div_ceil(shape.round, div_ceil(shape.round, most_warps))));
  shape.shared_bytes = bytes(shape.round);
  // As many blocks as run at once, each with about as many tiles.
  const int32_t at_once = places * (!shape.deep && shape.shared_bytes <= half ? 2 : 1);
  const int32_t parts = std::clamp(at_once / blocks(shape.groups), 1, row_tiles);
  shape.tiles = div_ceil(row_tiles, parts);
  return shape;
}

void Forward::few_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows,
                          const Rounded* gated) {
  const FewShape shape = few_shape(part.matrix, rows, gated != nullptr, gated != nullptr && gated->integers != 0);
  auto p = placed<FewParams>(part, out, out_stride, rows);
  p.matrix = part.matrix;
  p.x = x;
  p.groups = shape.groups;
  p.round = shape.round;
  p.tiles = shape.tiles;
  p.buffers = shape.buffers;
  if (gated != nullptr) {
    p.gate = 1;
    p.gated = *gated;
  }
  const auto& kernels = shape.deep ? kernels_.few_deep : kernels_.few;
  launch(kernels[static_cast<size_t>(part.matrix.type)], p,
         static_cast<uint32_t>(div_ceil(part.matrix.groups, shape.groups)),
         static_cast<uint32_t>(div_ceil<int64_t>(rows, 8 * shape.tiles)), 1, shape.warps * 32, shape.shared_bytes,
         true);
}

void Forward::product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows) {
  if (x.fragments == kColumnsForm) return few_product(part, x, out, out_stride, rows, nullptr);
  if (x.fragments == 2 && !is_quantised(part.matrix)) {
    core_product(part, x, out, out_stride, rows, 1, nullptr);
    return;
  }
  if (x.fragments == kExactForm) return exact_product(part, x, out, out_stride, rows, nullptr, false);
  auto p = placed<ProductParams>(part, out, out_stride, rows);
  p.matrix = part.matrix;
  p.x = x;
  const auto type = static_cast<size_t>(part.matrix.type);
  const auto groups = static_cast<uint32_t>(part.matrix.groups);
  const uint32_t whole_tiles = groups / kGemmGroups * static_cast<uint32_t>(div_ceil<int64_t>(rows, 64));
  if (rows > kNarrowProductRows || whole_tiles >= multiprocessors_) {
    const bool quantised = is_quantised(part.matrix);
    const int32_t tall = 16 * (quantised ? kGemmTiles : kFloatTiles);
    launch(kernels_.gemm[type], p, div_ceil(groups, static_cast<uint32_t>(quantised ? kGemmGroups : kFloatGroups)),
           static_cast<uint32_t>(div_ceil<int64_t>(rows, tall)), 1, quantised ? kGemmThreads : kFloatThreads,
           static_cast<size_t>(gemm_shared_bytes(part.matrix.type)));
  } else {
    const int32_t rounds = div_ceil(part.matrix.chunks, 16);
    const auto warps = static_cast<uint32_t>(std::max(4, div_ceil(part.matrix.chunks, rounds)));
    const bool wide = groups >= 8 * multiprocessors_;  // four groups a block read the rows once
    launch(wide ? kernels_.product_wide[type] : kernels_.product_fragments[type], p,
           wide ? div_ceil(groups, 4u) : groups, static_cast<uint32_t>(div_ceil<int64_t>(rows, 64)), 1, warps * 32,
           warps * 16 * (wide ? 32 : 8) * sizeof(float), true);
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
  auto p = placed<HalfGemmParams>(part, out, out_stride, rows);
  p.x = reinterpret_cast<const uint16_t*>(x.pieces);
  p.x_groups = core_groups(x.rows16);
  p.x_plane = static_cast<int64_t>(p.x_groups) * x.chunks * kTileColumns * kTileRows;
  p.w = part.matrix.data;
  p.w_groups = part.matrix.groups;
  p.stages = 2 * part.matrix.chunks;
  p.passes = x.core_planes;
  p.outputs = part.matrix.rows;
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

void Forward::exact_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows,
                            const Rounded* gated, bool sums) {
  auto p = placed<ExactParams>(part, out, out_stride, rows);
  p.matrix = part.matrix;
  p.x = x;
  p.row_tiles = exact_row_tiles(x.rows16);
  p.output_tiles = div_ceil(part.matrix.groups, kExactGroups);
  p.sums = sums ? 1 : 0;
  if (gated != nullptr) p.gated = *gated;
  const auto type = static_cast<size_t>(part.matrix.type);
  const auto tiles = static_cast<uint32_t>(p.row_tiles * p.output_tiles);
  launch(gated != nullptr ? kernels_.exact_gated[type] : kernels_.exact_gemm[type], p,
         std::min(tiles, multiprocessors_), 1, 1, kExactThreads,
         static_cast<size_t>(exact_shared_bytes(part.matrix.type)));
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
