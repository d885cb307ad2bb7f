#include "backend/cuda/decode_plan.h"

#include <algorithm>

#include "base/checked.h"

namespace carat::cuda {
namespace {

using Counts = std::vector<int>;  // of units, by block

// Shares of neighbours, one block's behind the other's.
void place(const Counts& units, int32_t unit, size_t part, size_t stage, std::span<DecodeShares> shares) {
  int first = 0;
  for (size_t block = 0; block < units.size(); ++block) {
    shares[block * kDecodeProducts + stage].of[part] = {first * unit, units[block] * unit};
    first += units[block];
  }
}

// As many to each block as there are for all, the rest at even distances.
Counts evenly(int units, int blocks) {
  Counts counts;
  for (int block = 0; block < blocks; ++block) counts.push_back(units * (block + 1) / blocks - units * block / blocks);
  return counts;  // far below 2^31: 32,768 groups are a head
}

// What blocks have to bring so far, in bytes; of one stage at a time.
class Balance {
 public:
  explicit Balance(int blocks) : bytes_(static_cast<size_t>(blocks)) {}

  void begin_stage(int units) {
    const int blocks = static_cast<int>(bytes_.size());
    most_ = div_ceil(units, blocks);
    taken_.assign(bytes_.size(), 0);
  }
  Counts take(Counts counts, int64_t bytes_of_unit) {
    for (size_t block = 0; block < bytes_.size(); ++block) bytes_[block] += counts[block] * bytes_of_unit;
    return counts;
  }
  // One by one to whoever has the fewest bytes.
  Counts share(int units, int64_t bytes_of_unit) {
    Counts counts(bytes_.size(), 0);
    for (; units > 0; --units) {
      size_t least = bytes_.size();
      for (size_t block = 0; block < bytes_.size(); ++block) {
        if (taken_[block] < most_ && (least == bytes_.size() || bytes_[block] < bytes_[least])) least = block;
      }
      ++taken_[least];
      ++counts[least];
      bytes_[least] += bytes_of_unit;
    }
    return counts;
  }

 private:
  std::vector<int64_t> bytes_;
  Counts taken_;
  int most_ = 0;
};

int64_t bytes_of(const TileMatrix& matrix, int32_t groups) {
  return int64_t{groups} * matrix.chunks * tile_format(matrix.type).tile_bytes();
}

// `down` first: a block without a share of it is known by its place (DecodeParams::flags_of_down).
void share_layer(const DecodeLayer& layer, int items, int blocks, std::span<DecodeShares> shares) {
  const auto stages = stages_of(layer);
  Balance balance(blocks);
  constexpr size_t kDown = 3;
  for (const size_t stage : {kDown, size_t{2}, size_t{1}, size_t{0}}) {
    const auto& [parts, unit] = stages[stage];
    const bool gated = stage == 2 && parts.size() == 2;  // gate's and up's units belong together
    const auto shared_out = gated ? parts.first(1) : parts;
    int units = 0;
    for (const DecodePart& part : shared_out) units += part.matrix.groups / unit;
    balance.begin_stage(units);
    for (size_t k = 0; k < shared_out.size(); ++k) {
      const TileMatrix& matrix = parts[k].matrix;
      const int64_t bytes = bytes_of(matrix, unit) + (gated ? bytes_of(parts[1].matrix, unit) : 0);
      const int count = matrix.groups / unit;
      place(stage == kDown ? balance.take(evenly(count, blocks), bytes) : balance.share(count, bytes), unit, k, stage,
            shares);
    }
    if (gated) {
      for (size_t block = 0; block < static_cast<size_t>(blocks); ++block) {
        auto& of = shares[block * kDecodeProducts + stage].of;
        of[1] = of[0];
      }
    }
    const int round = decode_round(items, parts[0].matrix.chunks, static_cast<int>(parts.size()), unit);
    for (size_t block = 0; block < static_cast<size_t>(blocks); ++block) {
      shares[block * kDecodeProducts + stage].round = round;
    }
  }
}

// In the order in which the kernel's loops come to them: rounds, parts, a piece's groups, runs of chunks.
void add_pieces(std::span<const DecodePart> parts, const DecodeShares& shares, std::vector<uint64_t>& pieces) {
  bool more = true;
  for (int first = 0; more; first += shares.round) {
    more = false;
    for (size_t k = 0; k < parts.size(); ++k) {
      const TileMatrix& m = parts[k].matrix;
      const DecodeShare share = shares.of[k];
      more = more || share.slots > first + shares.round;
      const int groups = std::max(0, std::min(shares.round, share.slots - first));
      const auto tile = static_cast<uint64_t>(tile_format(m.type).tile_bytes());
      const auto at = [&](int group, int chunk) {
        return reinterpret_cast<uint64_t>(m.data) +
               (static_cast<uint64_t>(share.first + first + group) * static_cast<uint64_t>(m.chunks) +
                static_cast<uint64_t>(chunk)) *
                   tile;
      };
      const int step = decode_piece_groups(m.type);
      for (int group = 0; group < groups; group += step) {
        for (int chunk = 0; chunk < m.chunks; chunk += kPieceChunks) {
          const uint64_t size = static_cast<uint64_t>(std::min(kPieceChunks, m.chunks - chunk)) * tile / 16 << 48;
          const bool two = step == 2 && group + 1 < groups;
          pieces.push_back(size | at(group, chunk) | (two ? 1u : 0u));
          if (two) pieces.push_back(size | at(group + 1, chunk));
        }
      }
    }
  }
}

// Of a stage: pieces from one that a worker reads, or from the stage's beginning, to its next one (PartItems).
int most_apart(std::span<const DecodePart> parts, const DecodeShares& shares) {
  int most = 1, base = 0, last[kWorkers];
  std::fill(std::begin(last), std::end(last), -1);
  bool more = true;
  for (int first = 0; more; first += shares.round) {
    more = false;
    for (size_t k = 0; k < parts.size(); ++k) {
      const TileMatrix& m = parts[k].matrix;
      more = more || shares.of[k].slots > first + shares.round;
      const int groups = std::max(0, std::min(shares.round, shares.of[k].slots - first));
      const int sets = div_ceil(groups, decode_piece_groups(m.type)), runs = div_ceil(m.chunks, kPieceChunks);
      const bool own = decode_own_chunks(m.type, sets, m.chunks);
      for (int unit = 0; unit < sets * m.chunks; ++unit) {
        const int piece = base + unit / m.chunks * runs + unit % m.chunks / kPieceChunks;
        int& before = last[(own ? unit % m.chunks : unit) % kWorkers];
        most = std::max(most, piece - before);
        before = piece;
      }
      base += sets * runs;
    }
  }
  return most;
}

}  // namespace

std::array<DecodeStage, kDecodeProducts> stages_of(const DecodeLayer& layer) {
  return {{{{layer.qkv, static_cast<size_t>(layer.qkv_parts)}, 1},
           {{&layer.attn_out, 1}, 1},
           {{layer.gate_up, static_cast<size_t>(layer.gate_up_parts)},
            decode_gated_unit(layer.gate_up_parts, layer.rounded[2])},
           {{&layer.down, 1}, 1}}};
}

int decode_part_items(std::span<const DecodeLayer> layers, const TileMatrix& head) {
  int items = std::max(kPartItems, head.chunks);
  for (const DecodeLayer& layer : layers) {
    for (const auto& [parts, unit] : stages_of(layer)) {
      items = std::max(items, parts[0].matrix.chunks * static_cast<int>(parts.size()) * unit);
    }
  }
  return items;
}

DecodePlan plan_decode(std::span<const DecodeLayer> layers, const TileMatrix& head, int blocks) {
  DecodePlan plan;
  const size_t of_layer = static_cast<size_t>(blocks) * kDecodeProducts;
  const int items = decode_part_items(layers, head);
  plan.shares.resize((layers.size() + 1) * of_layer);
  const auto row = [&](size_t layer) { return std::span(plan.shares).subspan(layer * of_layer, of_layer); };
  for (size_t i = 0; i < layers.size(); ++i) share_layer(layers[i], items, blocks, row(i));
  const DecodePart of_head{head, 1, 0};
  place(evenly(head.groups, blocks), 1, 0, 0, row(layers.size()));
  for (size_t block = 0; block < static_cast<size_t>(blocks); ++block) {
    const auto of_block = [&](size_t layer) { return row(layer).subspan(block * kDecodeProducts, kDecodeProducts); };
    plan.first.push_back(static_cast<uint32_t>(plan.pieces.size()));
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto stages = stages_of(layers[i]);
      for (size_t stage = 0; stage < stages.size(); ++stage) {
        add_pieces(stages[stage].parts, of_block(i)[stage], plan.pieces);
        plan.apart_layers = std::max(plan.apart_layers, most_apart(stages[stage].parts, of_block(i)[stage]));
      }
    }
    plan.head.push_back(static_cast<uint32_t>(plan.pieces.size()));
    DecodeShares& shares = of_block(layers.size())[0];
    shares.round = decode_round(items, head.chunks, 1, 1);
    add_pieces({&of_head, 1}, shares, plan.pieces);
    plan.apart_head = std::max(plan.apart_head, most_apart({&of_head, 1}, shares));
  }
  plan.first.push_back(static_cast<uint32_t>(plan.pieces.size()));
  return plan;
}

}  // namespace carat::cuda
