// Products of up to eight rows: what their kernels are given, and which form of them a type takes. Read by the host's compiler and by
// the device's.
#pragma once

#include "backend/cuda/params.h"

namespace carat::cuda {

// Products of up to eight rows: a block's threads, and what it has of weights and sums.
inline constexpr int kFewThreads = 320, kDeepThreads = 512, kFewLeastThreads = 128, kFewMostGroups = 8;
inline constexpr int kFewTotals = 8 * kFewMostGroups * kTileRows / kFewLeastThreads;  // of a thread
constexpr int few_shared_bytes(TileType type, int groups, int chunks) {
  return chunks * (groups * tile_format(type).tile_bytes() + 8 * (groups * kTileRows + 4) * 4) + 16;
}

// Of few outputs: groups of a block, whose warps have a chunk each.
inline constexpr int kNarrowGroups = 2;
constexpr int few_narrow_bytes(TileType type, int chunks) {
  return chunks * kNarrowGroups * (tile_format(type).tile_bytes() + 8 * kTileRows * 4) + 16;
}

// Between gate and up: registers of a thread, and whether they hold the sums of two pairs of groups; none are kept in local memory.
constexpr int few_gate_registers(TileType type) {
  const bool many = !tile_format(type).quantised() || type == TileType::kQ2_K;
  return many ? 96 : type == TileType::kQ5_K ? 80 : 72;
}
constexpr bool few_gate_two(TileType type) {
  const TileFormat format = tile_format(type);
  return format.bits % 4 == 0 && !format.super && !format.table;
}

// The same by blocks that stay: what one has on its way of its groups' weights, and all of its shared memory.
inline constexpr int kTurnStages = 2;
constexpr int few_turns_bytes(TileType type, int groups, int chunks) {
  return chunks * (kTurnStages * groups * tile_format(type).tile_bytes() + 2 * 8 * (groups * kTileRows + 4) * 4) +
         kTurnStages * 8;
}

// Of many columns, by blocks that share them (a cluster): three, or six where a tile is small; groups of 8 outputs of all of them,
// their threads, and what a block has: its part of the chunks' weights, and the sums of all segments of its own groups.
inline constexpr int kShares = 3, kSixShares = 6, kSharedGroups = 4, kSixGroups = 6, kSharedThreads = 288;
constexpr bool takes_six(TileType type) {  // Q8_0 has no room beside gate and up, Q2_K and Q5_K take too many registers
  const bool others = type == TileType::kQ8_0 || type == TileType::kQ2_K || type == TileType::kQ5_K;
  return tile_format(type).quantised() && !others;
}
// Registers of a thread, without local memory.
constexpr int six_registers(TileType type) {
  const TileFormat format = tile_format(type);
  return format.bits > 4 || format.min || format.subs == 2 ? 72 : 64;
}
constexpr int shared_weights_bytes(TileType type, int shares, int groups, int chunks) {
  return (chunks + shares - 1) / shares * groups * tile_format(type).tile_bytes();
}
constexpr int shared_few_bytes(TileType type, int shares, int groups, int chunks) {
  const int own = (groups + shares - 1) / shares;  // at most
  return shared_weights_bytes(type, shares, groups, chunks) + own * chunks * 8 * kTileRows * 4 + 16;
}

struct FewParams {
  TileMatrix matrix;
  Rounded x;
  float* out;  // as ProductParams has it
  int32_t out_stride;
  int32_t group_step, group_first;
  int32_t rows;    // T, up to 8
  int32_t groups;  // of a block, an even number
  int32_t round;   // chunks that it has at a time; of blocks that stay: turns on their way
  Rounded gated;   // few_gate, few_gated: groups are gate, up, gate, up ... and become this
};

struct FewPairParams {
  FewParams of[2];
  int32_t first_blocks;  // of the grid
};

// `few`: with no place where logits go, only the best are found.
struct FewHeadParams {
  FewParams few;
  uint64_t* best;  // [T], order_of_logit
};

// few_TYPE, few_deep_TYPE, few_gate_TYPE, few_narrow_TYPE and few_shared_TYPE (FewParams), few_head_TYPE (FewHeadParams), few_gated_TYPE
// (FewParams, floats only), and, where takes_six says so, few_six_TYPE (FewParams):
#define CARAT_CUDA_SIX_TYPES(X) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q3_K) X(Q4_K) X(Q6_K) X(IQ4_NL) X(IQ4_XS)

// Types of queries and keys, and of values, as llama.cpp's mixtures have them: X(first, second) is few_pair_first_second (FewPairParams).
#define CARAT_CUDA_FEW_PAIRS(X) X(Q4_K, Q6_K) X(Q5_0, Q8_0) X(Q5_K, Q6_K) X(Q5_1, Q8_0)

}  // namespace carat::cuda
