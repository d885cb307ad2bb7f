// Who attends what in attend_tiles: tiles of neighbouring rows, of which those that see many keys are cut into parts, so that a long one
// does not end alone on its multiprocessor when all others have nothing to do.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/cuda/tiles_params.h"

namespace carat::cuda {

/// Neighbouring rows of a sequence, and the keys [first_key, end_key) that they see together.
struct RowTile {
  int32_t first_row, rows;
  int32_t first_key, end_key;
};

struct TilesPlan {
  std::vector<TileItem> parts;  // in the order in which blocks should take them; tiles that are not cut have record -1
  std::vector<JoinItem> joins;  // of the tiles that are
  int32_t records = 0;
};

/// What there is for a step's tiles: multiprocessors, which hold two blocks each, blocks of an item (a kv head each), and room for so many
/// records of all kv heads.
struct TilesRoom {
  int32_t multiprocessors, blocks_of_item, records;
};

/// Every split of every tile once. Tiles are cut where that is sooner: a part that is alone on a multiprocessor takes two thirds of the time of one that
/// is not, and joining parts takes time, too. Where there is no room for more records the first part of a tile, which needs only one, has more.
TilesPlan plan_tiles(std::span<const RowTile> tiles, const TilesRoom& room);

}  // namespace carat::cuda
