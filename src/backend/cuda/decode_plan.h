// Who computes what in decode_row: the groups of outputs that each block has in each stage, and the pieces of weights that it
// brings, in order.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "backend/cuda/params.h"

namespace carat::cuda {

/// The stages of a layer in the order of the kernel: qkv, attn_out, gate_up, down.
struct DecodeStage {
  std::span<const DecodePart> parts;
  int32_t unit;  // of groups, that one block has whole
};
std::array<DecodeStage, kDecodeProducts> stages_of(const DecodeLayer& layer);

struct DecodePlan {
  std::vector<DecodeShares> shares;  // [layers + 1][blocks][kDecodeProducts]; the last row's first one is the head's
  std::vector<uint64_t> pieces;      // as DecodeParams has them
  std::vector<uint32_t> first, head;
  /// The most pieces from one that a worker reads to its next one, of layers and of the head. Its wait tells a place's turns apart by
  /// a bit, so what was in the place before must have come; of the pieces up to one that has come all have but those that were on
  /// their way with it. So no more than `depth - apart` may be.
  int apart_layers = 1, apart_head = 1;
};

/// Segments of 8 outputs that a block holds at a time: one unit of each stage at least.
int decode_part_items(std::span<const DecodeLayer> layers, const TileMatrix& head);

/// In each stage no block has more units than another has to have, and over a layer all bring about as many bytes: who has one
/// of `down` more than others has less of gate_up. `blocks`: at least 1.
DecodePlan plan_decode(std::span<const DecodeLayer> layers, const TileMatrix& head, int blocks);

}  // namespace carat::cuda
