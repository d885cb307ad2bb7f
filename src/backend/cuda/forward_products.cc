// The products of a step of several rows: which kernel multiplies which shape.
#include <algorithm>

#include "backend/cuda/forward.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

// More rows than these take tiles of 64 x 64 (floats 128 x 128), and fewer where that fills the device; the first ones never.
constexpr int64_t kNarrowProductRows = 256, kFewGemmRows = 32;

// Every 16 rows read the weights anew, so they should stay in the cache.
constexpr int64_t kCachedBytes = int64_t{24} << 20;

// Of a block of 16 rows: one for each chunk of a round.
int32_t some_warps(int32_t chunks) { return std::max(4, div_ceil(chunks, div_ceil(chunks, kSomeMostChunks))); }

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

bool by_cores(const TileMatrix& matrix, const Rounded& x) {
  return x.fragments == 2 && (x.integers == 0 || !is_quantised(matrix));
}

// Of few rows: how many groups of 8 outputs a block has, and how many chunks of them at a time.
Forward::FewShape Forward::few_shape(const TileMatrix& matrix, bool gated, bool integers) const {
  constexpr int32_t kDeepChunks = 24;  // more than so many at a time
  const size_t half = half_shared_bytes();
  FewShape shape;
  const auto bytes = [&](int32_t chunks) {
    return static_cast<size_t>(few_shared_bytes(matrix.type, shape.groups, chunks));
  };
  if (gated) {
    shape.groups = integers ? 8 : 4;
    shape.round = matrix.chunks;
    if (bytes(shape.round) > shared_bytes_) return {};
  } else {
    shape.deep = matrix.chunks > kDeepChunks;
    if (shape.deep && wide_) {
      // By six: a chunk for each warp. Not where their blocks find room too late.
      const bool six = takes_six(matrix.type) && div_ceil(matrix.chunks, kSixShares) <= kSharedThreads / 32;
      shape.shares = six ? kSixShares : kShares;
      shape.groups = six ? kSixGroups : kSharedGroups;
      shape.shared_bytes =
          static_cast<size_t>(shared_few_bytes(matrix.type, shape.shares, shape.groups, matrix.chunks));
      if (shape.shared_bytes <= shared_bytes_) return shape;
      shape.shares = 0;
    }
    shape.groups = div_ceil(matrix.groups, 8) >= static_cast<int32_t>(multiprocessors_) ? 8 : 2;
    const auto fits = [&](int32_t chunks) { return bytes(chunks) <= (shape.deep ? shared_bytes_ : half); };
    while (shape.groups > 2 && !fits(matrix.chunks)) shape.groups /= 2;
    int32_t rounds = 1;
    while (!fits(div_ceil(matrix.chunks, rounds))) ++rounds;
    shape.round = div_ceil(matrix.chunks, rounds);
    shape.narrow = shape.groups == kNarrowGroups && rounds == 1 && matrix.chunks <= kFewThreads / 32;
  }
  const int32_t most_warps = (shape.deep ? kDeepThreads : kFewThreads) / 32;
  const int32_t warps = div_ceil(shape.round, div_ceil(shape.round, most_warps));
  shape.warps = static_cast<uint32_t>(std::max(kFewLeastThreads / 32, warps));
  shape.shared_bytes =
      shape.narrow ? static_cast<size_t>(few_narrow_bytes(matrix.type, matrix.chunks)) : bytes(shape.round);
  return shape;
}

void Forward::few_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows) {
  const FewShape shape = few_shape(part.matrix, false, false);
  auto p = placed<FewParams>(part, out, out_stride, rows);
  p.matrix = part.matrix;
  p.x = x;
  if (shape.shares != 0) {
    const auto& kernels = shape.shares == kSixShares ? kernels_.few_six : kernels_.few_shared;
    return launch(kernels[static_cast<size_t>(part.matrix.type)], p,
                  static_cast<uint32_t>(shape.shares * div_ceil(part.matrix.groups, shape.groups)), 1, 1,
                  kSharedThreads, shape.shared_bytes, true);
  }
  p.groups = shape.groups;
  p.round = shape.round;
  const auto& kernels = shape.narrow ? kernels_.few_narrow : shape.deep ? kernels_.few_deep : kernels_.few;
  launch(kernels[static_cast<size_t>(part.matrix.type)], p,
         static_cast<uint32_t>(div_ceil(part.matrix.groups, shape.groups)), 1, 1, shape.warps * 32, shape.shared_bytes,
         true);
}

bool Forward::few_pair_product(std::span<const ProductPart> parts, const Rounded& x, float* out, int64_t out_stride,
                               int64_t rows) {
  if (x.fragments != kColumnsForm || parts.size() != 2) return false;
  const auto kernel = [&]() -> Device::Kernel {
#define CARAT_PAIR(first, second)                                                                  \
  if (parts[0].matrix.type == TileType::k##first && parts[1].matrix.type == TileType::k##second) { \
    return kernels_.few_pair_##first##_##second;                                                   \
  }
    CARAT_CUDA_FEW_PAIRS(CARAT_PAIR)
#undef CARAT_PAIR
    return nullptr;
  }();
  if (kernel == nullptr) return false;
  FewPairParams p{};
  uint32_t blocks[2] = {}, warps = 0;
  size_t bytes = 0;
  for (size_t i = 0; i < 2; ++i) {
    const FewShape shape = few_shape(parts[i].matrix, false, false);
    if (!shape.narrow) return false;
    p.of[i] = placed<FewParams>(parts[i], out, out_stride, rows);
    p.of[i].matrix = parts[i].matrix;
    p.of[i].x = x;
    blocks[i] = static_cast<uint32_t>(div_ceil(parts[i].matrix.groups, kNarrowGroups));
    warps = std::max(warps, shape.warps);
    bytes = std::max(bytes, shape.shared_bytes);
  }
  p.first_blocks = static_cast<int32_t>(blocks[0]);
  launch(kernel, p, blocks[0] + blocks[1], 1, 1, warps * 32, bytes, true);
  return true;
}

void Forward::few_gate_product(const ProductPart& part, const Rounded& x, int64_t rows, const Rounded& gated) {
  const FewShape shape = few_shape(part.matrix, true, gated.integers != 0);
  auto p = placed<FewParams>(part, nullptr, 0, rows);
  p.matrix = part.matrix;
  p.x = x;
  p.groups = shape.groups;
  p.gated = gated;
  const auto type = static_cast<size_t>(part.matrix.type);
  const auto blocks = static_cast<uint32_t>(div_ceil(part.matrix.groups, p.groups));
  // Those of floats are more than all multiprocessors hold.
  if (gated.integers == 0 && !is_quantised(part.matrix) && blocks > 2 * multiprocessors_ &&
      part.matrix.chunks <= kFewThreads / 32) {
    const auto bytes = static_cast<size_t>(few_turns_bytes(part.matrix.type, p.groups, part.matrix.chunks));
    if (bytes <= shared_bytes_) {
      p.round = kTurnStages;
      const uint32_t warps = std::max(shape.warps, static_cast<uint32_t>(p.groups));  // a thread for a row and a column
      return launch(kernels_.few_gated[type], p, multiprocessors_, 1, 1, warps * 32, bytes, true);
    }
  }
  launch(kernels_.few_gate[type], p, blocks, 1, 1, shape.warps * 32, shape.shared_bytes, true);
}

bool Forward::few_head_product(const Rounded& x, float* logits, int64_t rows) {
  const TileMatrix& matrix = weights_.head;
  if (x.fragments != kColumnsForm || matrix.chunks > kFewThreads / 32) return false;
  auto p = placed<FewParams>({matrix}, logits, config_.vocabulary, rows);
  p.matrix = matrix;
  p.x = x;
  p.round = kTurnStages;
  const auto bytes = [&](int32_t groups) {
    return static_cast<size_t>(few_turns_bytes(matrix.type, groups, matrix.chunks));
  };
  for (p.groups = kFewMostGroups; bytes(p.groups) > half_shared_bytes(); p.groups /= 2) {
    if (p.groups == 2) return false;
  }
  const auto turns = static_cast<uint32_t>(div_ceil(matrix.groups, p.groups));
  launch(kernels_.few_head[static_cast<size_t>(matrix.type)], FewHeadParams{p, best_},
         std::min(turns, 2 * multiprocessors_), 1, 1,
         static_cast<uint32_t>(std::max(kFewLeastThreads / 32, matrix.chunks)) * 32, bytes(p.groups), true);
  return true;
}

int32_t Forward::some_groups(const TileMatrix& matrix, int64_t rows, bool gated) const {
  constexpr int32_t kOfBlock = 3;  // what a block costs beside its groups, in groups
  if (gated && matrix.chunks > kSomeMostChunks) return 0;
  const int32_t warps = some_warps(matrix.chunks);
  const int64_t tiles = div_ceil<int64_t>(rows, 16);
  int32_t best = 0;
  int64_t least_cost = 0;
  for (int32_t groups = gated ? 8 : 2; groups <= 64; groups += gated ? 8 : 1) {
    if (static_cast<size_t>(some_shared_bytes(matrix.type, groups, warps)) > shared_bytes_) break;
    if (!gated && 16 * kTileRows * groups > kSomeTotals * 32 * warps) break;
    const int64_t turns = div_ceil<int64_t>(tiles * div_ceil(matrix.groups, groups), int64_t{multiprocessors_});
    const int64_t cost = turns * (round_up(groups, 2) + kOfBlock);
    if (best != 0 && cost >= least_cost) continue;
    best = groups;
    least_cost = cost;
  }
  return best;
}

// Whether rows in fragments are multiplied 16 at a time.
bool Forward::takes_some(const TileMatrix& matrix, int64_t rows) const {
  if (invariant_ && !is_quantised(matrix)) return false;
  const int64_t bytes = int64_t{matrix.groups} * matrix.chunks * tile_format(matrix.type).tile_bytes();
  const auto tiles = static_cast<uint32_t>(matrix.groups / kGemmGroups * div_ceil<int64_t>(rows, 64));
  const bool few = is_quantised(matrix) && rows <= kFewGemmRows;
  return rows <= kNarrowProductRows && bytes <= kCachedBytes && (few || tiles < multiprocessors_) &&
         some_groups(matrix, rows, false) != 0;
}

// Few outputs are few blocks of cores: up to some rows they are multiplied as fragments.
Rounded Forward::qkv_input(int64_t rows) const {
  Rounded x = rounded(norm_, rows);
  const auto narrow = [&](const ProductPart& part) {
    return takes_some(part.matrix, rows) && (rows <= kFewCoreRows || split_shares(part.matrix, rows) == 0);
  };
  const auto& parts = weights_.layers[0].qkv;
  if (x.fragments == 2 && x.integers == 0 && std::all_of(parts.begin(), parts.end(), narrow)) x.fragments = 1;
  return x;
}

void Forward::some_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows,
                           const Rounded* gated) {
  auto p = placed<SomeParams>(part, out, out_stride, rows);
  p.matrix = part.matrix;
  p.x = x;
  p.groups = some_groups(part.matrix, rows, gated != nullptr);
  if (gated != nullptr) {
    p.gate = 1;
    p.gated = *gated;
  }
  const int32_t warps = some_warps(part.matrix.chunks);
  launch(kernels_.some[static_cast<size_t>(part.matrix.type)], p,
         static_cast<uint32_t>(div_ceil(part.matrix.groups, p.groups)),
         static_cast<uint32_t>(div_ceil<int64_t>(rows, 16)), 1, static_cast<uint32_t>(warps) * 32,
         static_cast<size_t>(some_shared_bytes(part.matrix.type, p.groups, warps)), true);
}

void Forward::product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows) {
  if (x.fragments == kColumnsForm) return few_product(part, x, out, out_stride, rows);
  if (by_cores(part.matrix, x)) {
    if (split_shares(part.matrix, rows) != 0) return split_product(dense_part(part), x, out, out_stride, rows);
    core_product(dense_part(part), x, out, out_stride, rows, 1, nullptr);
    return;
  }
  if (x.fragments == kExactForm) return exact_product(part, x, out, out_stride, rows, nullptr, false);
  if (takes_some(part.matrix, rows)) return some_product(part, x, out, out_stride, rows, nullptr);
  auto p = placed<ProductParams>(part, out, out_stride, rows);
  p.matrix = part.matrix;
  p.x = x;
  const bool quantised = is_quantised(part.matrix);
  const int32_t tall = 16 * (quantised ? kGemmTiles : kFloatTiles);
  launch(kernels_.gemm[static_cast<size_t>(part.matrix.type)], p,
         static_cast<uint32_t>(div_ceil(part.matrix.groups, quantised ? kGemmGroups : kFloatGroups)),
         static_cast<uint32_t>(div_ceil<int64_t>(rows, tall)), 1, quantised ? kGemmThreads : kFloatThreads,
         static_cast<size_t>(gemm_shared_bytes(part.matrix.type)));
}

// Parts that a sum over columns falls into, so that few rows keep every multiprocessor busy.
int32_t Forward::most_splits(int32_t outputs, int64_t rows) const {
  if (invariant_) return 1;
  const int64_t tiles = div_ceil<int64_t>(rows, kShortRows) * div_ceil(div_ceil(outputs, kTileRows), kHalfGroups);
  return static_cast<int32_t>(std::clamp<int64_t>(int64_t{multiprocessors_} / tiles, 1, 16));
}

// Whether every matrix of the layers is quantised, and all of one fits where gate's and up's products would be.
bool Forward::goes_dense() const {
  if (precision_ != Precision::kFast || !wide_ || config_.ffn_width % kTileColumns != 0) return false;
  const size_t room = rope_ - products_;
  const auto fits = [&](const TileMatrix& m) {
    const size_t tiles = static_cast<size_t>(m.groups) * static_cast<size_t>(m.chunks);
    return is_quantised(m) && tiles * kTileRows * kTileColumns * sizeof(uint16_t) <= room;
  };
  return std::all_of(weights_.layers.begin(), weights_.layers.end(), [&](const CudaLayer& layer) {
    const auto part_fits = [&](const ProductPart& part) { return fits(part.matrix); };
    return layer.gate_up.size() == 1 && part_fits(layer.gate_up[0]) && fits(layer.attn_out.matrix) &&
           fits(layer.down.matrix) && std::all_of(layer.qkv.begin(), layer.qkv.end(), part_fits);
  });
}

ProductPart Forward::dense_part(const ProductPart& part) {
  if (!is_quantised(part.matrix)) return part;
  ProductPart dense = part;
  dense.matrix.data = at<uint8_t>(products_);
  dense.matrix.type = TileType::kBF16;
  const auto tiles = static_cast<uint32_t>(part.matrix.groups) * static_cast<uint32_t>(part.matrix.chunks);
  launch(kernels_.dense[static_cast<size_t>(part.matrix.type)], DenseParams{part.matrix, at<uint8_t>(products_)},
         div_ceil(tiles, uint32_t{kDenseThreads / 32}), 1, 1, kDenseThreads, 0, true);
  return dense;
}

HalfGemmParams Forward::core_params(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride,
                                    int64_t rows) {
  auto p = placed<HalfGemmParams>(part, out, out_stride, rows);
  p.x = reinterpret_cast<const uint16_t*>(x.pieces);
  p.x_groups = core_groups(x.rows16);
  p.x_plane = static_cast<int64_t>(p.x_groups) * x.chunks * kTileColumns * kTileRows;
  p.w = part.matrix.data;
  p.w_groups = part.matrix.groups;
  p.stages = 2 * part.matrix.chunks;
  p.passes = x.core_planes;
  p.outputs = part.matrix.rows;
  p.splits = 1;
  p.output_tiles = div_ceil(part.matrix.groups, kHalfGroups);
  return p;
}

int32_t Forward::split_shares(const TileMatrix& matrix, int64_t rows) const {
  if (!wide_ || invariant_ || rows > kWideRows) return 0;
  const int64_t tiles =
      div_ceil<int64_t>(rows, rows <= kFewCoreRows ? kFewCoreRows : kShortRows) * div_ceil(matrix.groups, kHalfGroups);
  // Few columns leave little to share out. Of an H100's multiprocessors fifteen clusters of eight or seven run at once, and
  // more than sixteen of six; one tile of 128 rows would leave most of them idle.
  constexpr int32_t kManyChunks = 12;
  const int32_t of_many = rows <= kFewCoreRows ? 8 : rows <= kShortRows ? 0 : 6;
  const int32_t shares = matrix.chunks <= kManyChunks ? 4 : of_many;
  if (shares == 0) return 0;
  return tiles * shares <= int64_t{multiprocessors_} && 2 * matrix.chunks >= shares ? shares : 0;
}

void Forward::split_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows) {
  auto p = core_params(part, x, out, out_stride, rows);
  const int32_t shares = split_shares(part.matrix, rows), of_block = rows <= kFewCoreRows ? kFewCoreRows : kShortRows;
  p.row_tiles = static_cast<int32_t>(div_ceil<int64_t>(rows, of_block));
  p.ring =
      short_stages(of_block, p.passes, kHalfGroups, true, div_ceil(p.stages, shares), static_cast<int>(shared_bytes_));
  const Device::Kernel kernel = shares == 8              ? kernels_.core_split_64_8
                                : shares == 6            ? kernels_.core_split_128_6
                                : of_block == kShortRows ? kernels_.core_split_128_4
                                                         : kernels_.core_split_64_4;
  launch(kernel, p, static_cast<uint32_t>(p.row_tiles * p.output_tiles * shares), 1, 1, kWideThreads,
         static_cast<size_t>(short_bytes(of_block, p.passes, kHalfGroups, true, p.ring)), !is_unpacked(part));
}

int32_t Forward::core_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows,
                              int32_t most_splits, const Rounded* gated, uint64_t* best) {
  constexpr double kShortCost = 0.58;  // of a block of 128 rows, in blocks of 256
  constexpr int32_t kLeastStages = 3;  // of a part
  auto p = core_params(part, x, out, out_stride, rows);
  p.splits = std::max(1, std::min(most_splits, p.stages / kLeastStages));
  const auto turns = [&](int32_t tall) {
    return div_ceil<int64_t>(div_ceil<int64_t>(rows, tall) * p.output_tiles, int64_t{multiprocessors_});
  };
  const int32_t broad_tiles = 2 * div_ceil(part.matrix.groups, kBroadGroups);
  const bool broad = !invariant_ && gated != nullptr && rows > kShortRows && rows <= 2 * kShortRows &&
                     broad_tiles <= static_cast<int32_t>(multiprocessors_);
  const bool tall = !broad && p.splits == 1 &&
                    static_cast<double>(turns(kWideRows)) <= kShortCost * static_cast<double>(turns(kShortRows));
  const int32_t of_block = tall ? kWideRows : rows <= kFewCoreRows && !invariant_ ? kFewCoreRows : kShortRows;
  p.row_tiles = static_cast<int32_t>(div_ceil<int64_t>(rows, of_block));
  if (gated != nullptr) p.gated = *gated;
  p.best = best;
  const auto of = [&](Device::Kernel text, Device::Kernel gate, Device::Kernel logits) {
    return gated != nullptr ? gate : best != nullptr ? logits : text;
  };
  // These multiply all columns by the first pieces, then by the second ones; those of few rows read the weights once for both.
  const bool in_passes = of_block == kShortRows && p.splits == 1 && (p.passes == 1 || invariant_);
  const int32_t thin_tiles = div_ceil(part.matrix.groups, kThinGroups);
  if (invariant_ && in_passes && gated == nullptr && best == nullptr &&
      p.row_tiles * thin_tiles <= static_cast<int32_t>(multiprocessors_)) {
    p.output_tiles = thin_tiles;
    launch(kernels_.core_text_thin, p, wide_grid(p.row_tiles, thin_tiles, multiprocessors_), 1, 1, kWideThreads,
           static_cast<size_t>(wide_bytes(kShortRows, 8 * kThinGroups)), true);
    return p.splits;
  }
  if (!broad && (of_block == kWideRows || in_passes)) {
    const Device::Kernel kernel =
        of_block == kWideRows ? of(kernels_.core_text_256, kernels_.core_gated_256, kernels_.core_best_256)
                              : of(kernels_.core_text_pairs, kernels_.core_gated_pairs, kernels_.core_best_pairs);
    launch(kernel, p, wide_grid(p.row_tiles, p.output_tiles, multiprocessors_), 1, 1, kWideThreads,
           static_cast<size_t>(wide_bytes(of_block)), true);
    return p.splits;
  }
  int32_t groups = kHalfGroups;
  if (gated != nullptr) {  // more blocks of fewer outputs, where all of them run at once still
    const auto turns_of = [&](int32_t of_groups) {
      return div_ceil<int64_t>(int64_t{p.row_tiles} * div_ceil(part.matrix.groups, of_groups), multiprocessors_) *
             of_groups;
    };
    if (turns_of(kSlimGroups) < turns_of(kHalfGroups)) groups = kSlimGroups;
    if (broad) groups = kBroadGroups;
    p.output_tiles = div_ceil(part.matrix.groups, groups);
  }
  const auto tiles = static_cast<uint32_t>(p.row_tiles * p.output_tiles * p.splits);
  const auto blocks = std::min(tiles, multiprocessors_);
  const bool alone = blocks == tiles;
  p.ring =
      short_stages(of_block, p.passes, groups, alone, div_ceil(p.stages, p.splits), static_cast<int>(shared_bytes_));
  const auto gate = [&](Device::Kernel half, Device::Kernel slim) {
    return broad ? kernels_.core_broad_128 : groups == kHalfGroups ? half : slim;
  };
  const Device::Kernel kernel =
      of_block == kShortRows
          ? of(kernels_.core_text_128, gate(kernels_.core_gated_128, kernels_.core_slim_128), kernels_.core_best_128)
          : of(kernels_.core_text_64, gate(kernels_.core_gated_64, kernels_.core_slim_64), kernels_.core_best_64);
  launch(kernel, p, blocks, 1, 1, kWideThreads,
         static_cast<size_t>(short_bytes(of_block, p.passes, groups, alone, p.ring)), !is_unpacked(part));
  return p.splits;
}

// Whether queries, keys and values leave their products ready for attention.
bool Forward::turns_heads(const CudaLayer& layer, const Rounded& x, int64_t rows) const {
  constexpr int32_t kGroups = kTurnedHead / kTileRows;
  return wide_ && !invariant_ && !alone_ && rows > kShortRows && config_.head_size == kTurnedHead &&
         std::all_of(layer.qkv.begin(), layer.qkv.end(), [&](const ProductPart& part) {
           return by_cores(part.matrix, x) && part.group_step == 1 && part.group_first % kGroups == 0 &&
                  part.matrix.groups % kGroups == 0;
         });
}

void Forward::heads_product(const ProductPart& part, const Rounded& x, const HeadsParams& heads, int64_t rows) {
  const int32_t of_part = part.matrix.groups / (kTurnedHead / kTileRows);
  CoreHeadsParams p{core_params(dense_part(part), x, nullptr, 0, rows), heads,
                    part.group_first / (kTurnedHead / kTileRows)};
  p.product.output_tiles = of_part;
  p.product.row_tiles = static_cast<int32_t>(div_ceil<int64_t>(rows, kShortRows));
  launch(kernels_.core_heads, p, wide_grid(p.product.row_tiles, of_part, multiprocessors_), 1, 1, kWideThreads,
         static_cast<size_t>(wide_bytes(kShortRows, kTurnedHead)), true);
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
         static_cast<size_t>(exact_shared_bytes(part.matrix.type)), true);
}

// A product whose parts close_rows adds.
int32_t Forward::summed_product(const ProductPart& part, const Rounded& x, int64_t rows) {
  if (by_cores(part.matrix, x) && split_shares(part.matrix, rows) == 0) {
    return core_product(dense_part(part), x, at<float>(projected_), config_.width, rows,
                        most_splits(config_.width, rows), nullptr);
  }
  product(part, x, at<float>(projected_), config_.width, rows);
  return 1;
}

}  // namespace carat::cuda
