// Parts of attention's tiles: every split once, records in the order in which they are joined, nobody waits long for the last one.
#include "backend/cuda/tiles_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>

namespace carat::cuda {
namespace {

constexpr TilesRoom kH100{132, 1, 3000};

// Tiles of eight rows, as many rows behind `past`; `window`: of keys that a row sees.
std::vector<RowTile> tiles_of(int32_t rows, int32_t past, int32_t window = 1 << 30) {
  std::vector<RowTile> tiles;
  for (int32_t row = 0; row < rows; row += 8) {
    const int32_t count = std::min(8, rows - row);
    tiles.push_back({row, count, std::max(0, past + row - window + 1), past + row + count});
  }
  return tiles;
}

void expect_every_split_once(const TilesPlan& plan, const std::vector<RowTile>& tiles, const TilesRoom& room) {
  std::map<int32_t, std::vector<TileItem>> parts;  // by first row
  for (const TileItem& part : plan.parts) parts[part.first_row].push_back(part);
  std::map<int32_t, JoinItem> joins;
  for (const JoinItem& join : plan.joins) EXPECT_TRUE(joins.emplace(join.first_row, join).second);
  std::vector<int> written(static_cast<size_t>(plan.records));
  ASSERT_EQ(parts.size(), tiles.size());
  EXPECT_LE(plan.records, room.records);
  for (const RowTile& tile : tiles) {
    std::vector<TileItem>& own = parts[tile.first_row];
    std::ranges::sort(own, {}, &TileItem::first_split);
    int32_t split = tile.first_key / kSplit;
    for (const TileItem& part : own) {
      EXPECT_EQ(part.rows, tile.rows);
      EXPECT_EQ(part.first_split, split);
      EXPECT_GT(part.end_split, part.first_split);
      split = part.end_split;
    }
    EXPECT_EQ(split, (tile.end_key - 1) / kSplit + 1);
    ASSERT_EQ(joins.count(tile.first_row), own.size() > 1 ? 1u : 0u);
    if (own.size() == 1) {
      EXPECT_EQ(own[0].record, -1);
      continue;
    }
    const JoinItem& join = joins[tile.first_row];
    EXPECT_EQ(join.rows, tile.rows);
    EXPECT_EQ(join.end_split, own[0].end_split);
    EXPECT_EQ(join.record, own[0].record);
    ++written.at(static_cast<size_t>(join.record));
    for (size_t i = 1; i < own.size(); ++i) {
      for (int32_t s = own[i].first_split; s < own[i].end_split; ++s) {
        const int32_t record = own[i].record + s - own[i].first_split;
        EXPECT_EQ(record, join.record + 1 + s - join.end_split);
        ++written.at(static_cast<size_t>(record));
      }
    }
  }
  EXPECT_TRUE(std::ranges::all_of(written, [](int times) { return times == 1; }));
}

// When the last block ends, in splits of one that has a neighbour: blocks take the first place there is; one that is alone on its multiprocessor is
// half as quick again.
double time_of(const TilesPlan& plan, const std::vector<RowTile>& tiles, const TilesRoom& room) {
  std::map<int32_t, RowTile> tile_of;
  for (const RowTile& tile : tiles) tile_of[tile.first_row] = tile;
  std::vector<std::array<double, 2>> places(static_cast<size_t>(room.multiprocessors));
  size_t next = 0;
  const auto take = [&](double& left) {
    if (next == plan.parts.size() * static_cast<size_t>(room.blocks_of_item)) return;
    const TileItem& part = plan.parts[next++ / static_cast<size_t>(room.blocks_of_item)];
    const RowTile& tile = tile_of[part.first_row];
    left = std::min(part.end_split * kSplit, tile.end_key) - std::max(part.first_split * kSplit, tile.first_key);
  };
  for (size_t half = 0; half < 2; ++half) {
    for (auto& of : places) take(of[half]);
  }
  const auto pace = [](const std::array<double, 2>& of) { return of[0] > 0 && of[1] > 0 ? 1.0 : 1.5; };
  for (double time = 0;;) {
    double step = 1e30;
    for (const auto& of : places) {
      for (const double left : of) {
        if (left > 0) step = std::min(step, left / pace(of));
      }
    }
    if (step == 1e30) return time / kSplit;
    time += step;
    for (auto& of : places) {
      const double done = step * pace(of);
      for (double& left : of) {
        if (left <= 0) continue;
        left -= done;
        if (left < 1e-6) left = 0, take(left);
      }
    }
  }
}

double shared_out(const std::vector<RowTile>& tiles, const TilesRoom& room) {
  int64_t keys = 0;
  for (const RowTile& tile : tiles) keys += tile.end_key - tile.first_key;
  return static_cast<double>(keys) * room.blocks_of_item / (2.0 * room.multiprocessors * kSplit);
}

TEST(TilesPlan, HasEverySplitOnce) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const TilesRoom room{static_cast<int32_t>(1 + random() % 140), static_cast<int32_t>(1 << random() % 4),
                         static_cast<int32_t>(random() % 2000)};
    std::vector<RowTile> tiles;
    int32_t row = 0;
    const auto sequences = static_cast<int>(1 + random() % 4);
    for (int s = 0; s < sequences; ++s) {
      const auto window = random() % 2 == 0 ? 512 : 1 << 30;
      for (RowTile tile :
           tiles_of(static_cast<int32_t>(4 + random() % 400), static_cast<int32_t>(random() % 9000), window)) {
        tile.first_row += row;
        tiles.push_back(tile);
      }
      row = tiles.back().first_row + tiles.back().rows;
    }
    expect_every_split_once(plan_tiles(tiles, room), tiles, room);
  }
}

TEST(TilesPlan, OfNothingIsEmpty) { EXPECT_TRUE(plan_tiles({}, kH100).parts.empty()); }

// Few rows behind many keys, the first rows of a long prompt, many rows behind many keys; other heads and devices.
TEST(TilesPlan, SharesLongTilesOut) {
  struct Case {
    int32_t rows, past;
    TilesRoom room;
    double most;  // times what all blocks would take if they ended together
  };
  const Case cases[] = {{256, 8000, kH100, 1.15},          {2048, 0, kH100, 1.15},
                        {2048, 6144, kH100, 1.05},         {100, 4000, kH100, 1.3},
                        {512, 2048, kH100, 1.25},          {256, 30000, {132, 1, 3400}, 1.15},
                        {256, 8000, {132, 4, 1200}, 1.15}, {256, 8000, {8, 1, 500}, 1.15}};
  for (const Case& c : cases) {
    const auto tiles = tiles_of(c.rows, c.past);
    const TilesPlan plan = plan_tiles(tiles, c.room);
    expect_every_split_once(plan, tiles, c.room);
    EXPECT_LE(time_of(plan, tiles, c.room), c.most * shared_out(tiles, c.room)) << c.rows << " rows behind " << c.past;
  }
}

// Where tiles fill the device by themselves they stay whole: a window's, and those of more rows than there are places for.
TEST(TilesPlan, LeavesTilesWholeThatFillTheDevice) {
  EXPECT_TRUE(plan_tiles(tiles_of(2048, 0, 512), kH100).joins.empty());
  EXPECT_TRUE(plan_tiles(tiles_of(2048, 6144, 512), kH100).joins.empty());
  EXPECT_TRUE(plan_tiles(tiles_of(256, 0, 512), {8, 1, 3000}).joins.empty());
  EXPECT_TRUE(plan_tiles(tiles_of(66, 0), kH100).joins.empty());  // a split each
}

// Without room nothing is cut; with little, the first parts are long.
TEST(TilesPlan, KeepsToItsRecords) {
  const auto tiles = tiles_of(256, 8000);
  EXPECT_TRUE(plan_tiles(tiles, {132, 1, 0}).joins.empty());
  double before = 33;
  for (const int32_t records : {100, 300, 600, 1100}) {
    const TilesRoom room{132, 1, records};
    const TilesPlan plan = plan_tiles(tiles, room);
    expect_every_split_once(plan, tiles, room);
    const double time = time_of(plan, tiles, room);
    EXPECT_LT(time, before) << records;
    before = time;
  }
}

}  // namespace
}  // namespace carat::cuda
