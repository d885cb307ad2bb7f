// Attention of a step: which rows attend by themselves and which in tiles, and the launches of a layer.
#include <algorithm>
#include <cstring>

#include "backend/cuda/forward.h"
#include "backend/cuda/tiles_plan.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

constexpr size_t kSplitTaskRows = 64;  // with no more rows than this, splits of attention are blocks of their own
constexpr int32_t kLeastTileRows = 4;  // of a sequence in a large step: so many attend as a tile

}  // namespace

// Tiles of the definition's attention, in parts. What those leave lies where products of gate and up come later: each layer's attention has it for
// itself.
void Forward::plan_tiles_of(size_t kind, std::span<const RowTile> tiles) {
  const size_t record = static_cast<size_t>(config_.kv_heads * tile_record(config_.head_size)) * sizeof(float);
  const TilesPlan plan = plan_tiles(tiles, {static_cast<int32_t>(multiprocessors_), config_.kv_heads,
                                            static_cast<int32_t>((rope_ - products_) / record)});
  const auto add = [&](const auto& items) {
    const size_t at = tile_plan_.size(), bytes = items.size() * sizeof items[0];
    tile_plan_.resize(at + bytes / sizeof(int32_t));
    if (bytes != 0) std::memcpy(tile_plan_.data() + at, items.data(), bytes);
    return ItemList{at, static_cast<uint32_t>(items.size())};
  };
  tile_items_[kind] = add(plan.parts);
  join_items_[kind] = add(plan.joins);
}

// Which rows attend by themselves, and which in tiles. On tensor cores those are taken the largest first, then in turns, so that every multiprocessor
// gets about the same.
void Forward::plan_attention(const Step& step) {
  single_plan_.clear();
  tile_plan_.clear();
  const int32_t of_tile = fast_attention() != nullptr ? kFastQueries : kQueryRows;
  const int32_t at_once = of_tile / (config_.heads / config_.kv_heads);
  std::vector<RowTile> tiles, local;
  most_splits_[0] = most_splits_[1] = 0;
  tiled_rows_ = 0;
  alone_ = config_.head_size == kOneHead && std::all_of(step.seqs.begin(), step.seqs.end(), [&](const SeqRows& seq) {
             return seq.end - seq.begin == 1 && step.rows[static_cast<size_t>(seq.begin)].sees_until == seq.past;
           });
  for (const SeqRows& seq : step.seqs) {
    if (step.rows.size() > kSplitTaskRows && seq.end - seq.begin >= kLeastTileRows) {
      for (int32_t r = seq.begin; r < seq.end; r += at_once) {
        const int32_t count = std::min(at_once, seq.end - r);
        const auto rows = step.rows.subspan(static_cast<size_t>(r), static_cast<size_t>(count));
        int32_t end = 0;
        for (const Row& row : rows) end = std::max(end, row.sees_until + 1);
        tiles.push_back({r, count, 0, end});
        local.push_back({r, count, std::max(0, seq.past + r - seq.begin - config_.window + 1), end});
      }
      tiled_rows_ += static_cast<size_t>(seq.end - seq.begin);
      continue;
    }
    for (int32_t r = seq.begin; r < seq.end; ++r) {
      single_plan_.push_back(r);
      const int32_t position = seq.past + r - seq.begin;
      const int32_t splits = step.rows[static_cast<size_t>(r)].sees_until / kSplit + 1;
      most_splits_[1] = std::max(most_splits_[1], splits);
      most_splits_[0] = std::max(most_splits_[0], splits - std::max(0, position - config_.window + 1) / kSplit);
    }
  }
  tile_items_[0] = tile_items_[1] = {0, static_cast<uint32_t>(tiles.size())};
  join_items_[0] = join_items_[1] = {};
  if (fast_attention() == nullptr) {
    plan_tiles_of(0, local);
    plan_tiles_of(1, tiles);
    return;
  }
  std::ranges::stable_sort(tiles, std::greater<>(), &RowTile::end_key);
  for (size_t first = 0, turn = 0; first < tiles.size(); first += multiprocessors_, ++turn) {
    const size_t end = std::min<size_t>(first + multiprocessors_, tiles.size());
    for (size_t i = first; i < end; ++i) {
      const RowTile& tile = tiles[turn % 2 == 0 ? i : first + end - 1 - i];
      tile_plan_.push_back(tile.first_row);
      tile_plan_.push_back(tile.rows);
    }
  }
}

// Query heads of a block, for so many rows and splits. One alone on a multiprocessor is as quick as can be; where they would take
// turns, keys and values are read once for several.
uint32_t Forward::heads_together(uint32_t items) const {
  const auto group = static_cast<uint32_t>(config_.heads / config_.kv_heads);
  const auto blocks = [&](uint32_t heads) { return items * static_cast<uint32_t>(config_.heads) / heads; };
  if (group % 2 != 0 || blocks(1) <= multiprocessors_) return 1;
  return group % 4 == 0 && blocks(2) > 2 * multiprocessors_ ? 4 : 2;
}

HeadsParams Forward::heads_params(const CudaLayer& layer, size_t index) {
  const size_t kind = layer.global ? 1 : 0;
  HeadsParams heads{};
  heads.qkv = at<float>(qkv_);
  heads.q_norm = layer.q_norm;
  heads.k_norm = layer.k_norm;
  const size_t angles = static_cast<size_t>(round_up(plan_.max_rows, 16)) * static_cast<size_t>(config_.head_size / 2);
  heads.cosines = at<float>(rope_) + 2 * kind * angles;
  heads.sines = at<float>(rope_) + (2 * kind + 1) * angles;
  heads.k_cache = k_cache_[index];
  heads.v_cache = v_cache_[index];
  heads.places = places_[kind];
  heads.heads = config_.heads;
  heads.kv_heads = config_.kv_heads;
  heads.head_size = config_.head_size;
  heads.query_scale = config_.query_scale;
  heads.epsilon = config_.norm_epsilon;
  return heads;
}

// Attention, with what comes before it (norms of heads, rope, the cache: unless their product's kernel has done that) and after it (rounding).
void Forward::attention(const CudaLayer& layer, size_t index, const Rounded& attended, bool prepared) {
  const size_t kind = layer.global ? 1 : 0;
  const auto E = static_cast<size_t>(config_.head_size);
  AttentionParams p{};
  p.qkv = at<float>(qkv_);
  p.k_cache = k_cache_[index];
  p.v_cache = v_cache_[index];
  p.rows = rows_;
  p.pages = pages_[kind];
  p.begin = page_begin_[kind];
  p.count = page_count_[kind];
  p.out = at<float>(attention_);
  p.heads = config_.heads;
  p.kv_heads = config_.kv_heads;
  p.head_size = config_.head_size;
  p.window = config_.window;
  p.global = layer.global ? 1 : 0;
  const size_t part = config_.heads * (E + 2) * sizeof(float);
  const auto splits = static_cast<size_t>(most_splits_[kind]);
  p.splits = splits > 1 && single_count_ * splits * part <= partials_.bytes() ? most_splits_[kind] : 0;
  p.partials = reinterpret_cast<float*>(partials_.data());
  p.rounded = attended;
  p.round = tiled_rows_ == 0 && attended.columns % kTileColumns == 0 ? 1 : 0;
  const HeadsParams heads = heads_params(layer, index);
  const auto H = static_cast<uint32_t>(config_.heads);
  if (alone_) {
    const auto singles = static_cast<uint32_t>(single_count_), parts = static_cast<uint32_t>(std::max(1, p.splits));
    p.items = single_rows_;
    const uint32_t together = heads_together(singles * parts);
    const Device::Kernel kernel = together == 1   ? kernels_.attend_one_1
                                  : together == 2 ? kernels_.attend_one_2
                                                  : kernels_.attend_one_4;
    if (wide_ && (p.splits != 0 || splits == 1) && singles * H * parts * kAttendBlocks <= 2 * multiprocessors_) {
      launch(kernels_.attend_few, OneParams{p, heads}, singles * kAttendBlocks, H, parts, kOneThreads, kAttendFewBytes,
             true);
    } else {
      launch(kernel, OneParams{p, heads}, singles, H / together, parts, kOneThreads,
             static_cast<size_t>(one_shared_bytes(static_cast<int>(together))), true);
    }
    if (p.splits != 0) launch(kernels_.combine_splits, p, singles, H, 1, 256, 0, true);
    if (p.round == 0) round_step({p.out, attended}, has_minima(layer.attn_out.matrix), static_cast<int64_t>(singles));
    return;
  }
  const auto rows = static_cast<uint32_t>(single_count_ + tiled_rows_);
  if (!prepared && E == kOneHead) {
    const ManyHeadsParams many{heads, static_cast<int32_t>(rows)};
    const uint32_t all = rows * static_cast<uint32_t>(config_.heads + 2 * config_.kv_heads);
    launch(kernels_.prepare_many, many, div_ceil(all, kManyThreads / 32u), 1, 1, kManyThreads, 0, true);
  } else if (!prepared) {
    launch(kernels_.prepare_heads, heads, rows, 1, 1,
           static_cast<uint32_t>(std::min(16, config_.heads + config_.kv_heads)) * 32, 0, true);
  }
  if (tiled_rows_ != 0) {
    const ItemList& tiles = tile_items_[kind];
    const auto kv_heads = static_cast<uint32_t>(config_.kv_heads);
    p.items = tiles_ + tiles.at;
    if (wide_ && attention_pieces_ != 0 && E == 256) {
      p.round = single_count_ == 0 && attended.fragments == 2 && attended.integers == 0 ? 1 : 0;
      launch(attention_pieces_ == 1 ? kernels_.attend_wide_1 : kernels_.attend_wide_2, p, tiles.count, kv_heads, 1,
             kAttendWideThreads, static_cast<size_t>(attend_wide_bytes(attention_pieces_)), true);
    } else if (const auto kernel = fast_attention(); kernel != nullptr) {
      launch(kernel, p, tiles.count, kv_heads, 1, kFastThreads,
             static_cast<size_t>(attend_fast_bytes(config_.head_size, attention_pieces_)), true);
    } else {
      // Blocks that come in one by one are not spread as they are planned: a long one beside a short one.
      const bool rounds = single_count_ == 0 && attended.fragments == kExactForm && attended.floats == 0 &&
                          attended.columns % kTileColumns == 0;
      p.round = !rounds ? 0 : has_minima(layer.attn_out.matrix) ? 2 : 1;
      AttentionParams of_tiles = p;
      of_tiles.partials = at<float>(products_);
      launch(kernels_.attend_tiles, of_tiles, kv_heads, tiles.count, 1, kTilesThreads, attend_tiles_shared(),
             !layer.global);
      if (const ItemList& joins = join_items_[kind]; joins.count != 0) {
        of_tiles.items = tiles_ + joins.at;
        launch(kernels_.join_parts, of_tiles, kv_heads, joins.count, kQueryRows * 32u / kJoinThreads, kJoinThreads, 0,
               true);
      }
    }
  }
  if (single_count_ != 0) {
    const auto singles = static_cast<uint32_t>(single_count_);
    p.items = single_rows_;
    const auto parts = static_cast<uint32_t>(std::max(1, p.splits));
    const uint32_t together = heads_together(singles * parts);
    if (together > 1) {
      const size_t floats = together * (E + kSplit + 8 + 8 * E) + 8;
      launch(together == 2 ? kernels_.attend_heads_2 : kernels_.attend_heads_4, p, singles, H / together, parts, 256,
             floats * sizeof(float), true);
    } else {
      launch(kernels_.attend_splits, p, singles, H, parts, 256, (E + kSplit + 16 + 8 * E) * sizeof(float), true);
    }
    if (p.splits != 0) launch(kernels_.combine_splits, p, singles, H, 1, 256, 0, true);
  }
  if (p.round == 0) {
    round_step({p.out, attended}, has_minima(layer.attn_out.matrix), static_cast<int64_t>(single_count_ + tiled_rows_));
  }
}

}  // namespace carat::cuda
