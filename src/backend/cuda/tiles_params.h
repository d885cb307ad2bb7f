// What a block of attend_tiles is: for the kernel and for whoever launches it.
#pragma once

#include "backend/cuda/params.h"

namespace carat::cuda {

inline constexpr int kTilesKeys = 64;  // keys, and columns, of a warp of it
inline constexpr int kTilesThreads = kSplit / kTilesKeys * 32;
inline constexpr int kTilesStride = kQueryRows + 4;        // floats of a key's weights: rows are side by side
inline constexpr int kTilesStage = 16 * (kTilesKeys + 4);  // floats of a warp's keys, or values, of which there are two
inline constexpr int kTilesState = 10 * kQueryRows;        // words

// What a block of attend_tiles does (AttentionParams::items): splits of a tile, all of them (record -1) or a part. The first part leaves what its
// splits come to in its record, every other part a record of each split, one behind the other: join_parts puts them together.
struct TileItem {
  int32_t first_row, rows;  // at most kQueryRows / heads of a kv head, of one sequence
  int32_t first_split, end_split, record;
};
inline constexpr int kTileItemWords = sizeof(TileItem) / 4;
// A tile that is put together: where its first part ends, and that part's record, which the others follow.
struct JoinItem {
  int32_t first_row, rows, end_split, record;
};
inline constexpr int kJoinItemWords = sizeof(JoinItem) / 4;
// Floats of a record: values [kQueryRows][E], then largest scores and sums of weights. For each kv head ([record][kv_heads]).
constexpr int tile_record(int head_size) { return kQueryRows * (head_size + 2); }
inline constexpr int kJoinThreads = 256;
constexpr int attend_tiles_shared() {
  return (256 * kQueryRows + kSplit * kTilesStride + kTilesThreads / 32 * 2 * kTilesStage + kTilesState) * 4;
}

}  // namespace carat::cuda
