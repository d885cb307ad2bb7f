#include "backend/cuda/tiles_plan.h"

#include <algorithm>
#include <numeric>

#include "base/checked.h"

namespace carat::cuda {
namespace {

// Time is counted in keys of a block that has a neighbour on its multiprocessor, three each; of one that is alone, two: of an H100, 42 us for a
// split of 256 keys, and 66 for two side by side. What a split and a part cost beside their keys, what the kernel that joins parts costs, and
// how many records are written and read in a unit of time.
constexpr int64_t kAlone = 2, kBeside = 3;
constexpr int32_t kKeysOfSplit = 24, kKeysOfPart = 48;
constexpr int64_t kTimeOfJoin = 64, kRecordsOfTime = 6;
constexpr int32_t kStep = 8;  // keys are counted by so many

int32_t begin_of(const RowTile& tile) { return tile.first_key / kSplit; }
int32_t end_of(const RowTile& tile) { return (tile.end_key - 1) / kSplit + 1; }

// How tiles are cut: those of more than `first` splits have a first part of so many and others of `length` at most; of as many all parts are alike.
struct Cut {
  int32_t first, length;
};

// The splits of a tile's parts begin at these; its end comes last.
class Bounds {
 public:
  Bounds(const RowTile& tile, const Cut& cut) : begin_(begin_of(tile)), end_(end_of(tile)) {
    const int32_t all = end_ - begin_;
    if (all <= cut.first) return;
    // All alike, where the first one need not be longer than the others. The last ones have more: the last split is seldom whole.
    if (cut.first == cut.length) {
      parts_ = div_ceil(all, cut.length);
      first_ = all / parts_;
    } else {
      parts_ = 1 + div_ceil(all - cut.first, cut.length);
      first_ = cut.first;
    }
  }
  int32_t parts() const { return parts_; }
  int32_t operator[](int32_t part) const {
    if (part == 0) return begin_;
    if (part == parts_) return end_;
    const int32_t rest = end_ - begin_ - first_;
    return begin_ + first_ + rest * (part - 1) / (parts_ - 1);
  }
  int32_t records() const { return parts_ == 1 ? 0 : 1 + end_ - (*this)[1]; }

 private:
  int32_t begin_, end_, first_ = 0, parts_ = 1;
};

int32_t cost_of(const RowTile& tile, int32_t begin, int32_t end) {
  const int32_t keys = std::min(end * kSplit, tile.end_key) - std::max(begin * kSplit, tile.first_key);
  return div_ceil(keys + (end - begin) * kKeysOfSplit + kKeysOfPart, kStep);
}

int64_t records_of(std::span<const RowTile> tiles, const Cut& cut) {
  return std::accumulate(tiles.begin(), tiles.end(), int64_t{0},
                         [&](int64_t sum, const RowTile& tile) { return sum + Bounds(tile, cut).records(); });
}

// The same with first parts so long that there is room for the records.
Cut with_room(std::span<const RowTile> tiles, const Cut& cut, int32_t most, int32_t records) {
  if (records_of(tiles, cut) <= records) return cut;
  int32_t first = cut.first + 1, fits = most;
  while (first < fits) {
    const int32_t middle = first + (fits - first) / 2;
    if (records_of(tiles, {middle, cut.length}) <= records) {
      fits = middle;
    } else {
      first = middle + 1;
    }
  }
  return {fits, cut.length};
}

// When the last one ends of so many parts of each cost (in steps), the longest first, on so many multiprocessors.
int64_t time_of(const std::vector<int32_t>& parts, int32_t multiprocessors) {
  const auto all = std::accumulate(parts.begin(), parts.end(), int64_t{0});
  if (all <= 2 * multiprocessors) {  // all at once, long ones beside short ones
    std::vector<int64_t> costs;
    for (size_t cost = parts.size(); cost-- > 0;) costs.insert(costs.end(), static_cast<size_t>(parts[cost]), cost);
    costs.resize(2 * static_cast<size_t>(multiprocessors));
    int64_t time = 0;
    for (size_t i = 0; i < costs.size() / 2; ++i) {
      time = std::max(time, kAlone * costs[i] + (kBeside - kAlone) * costs[costs.size() - 1 - i]);
    }
    return kStep * time;
  }
  std::vector<int32_t> places{2 * multiprocessors};  // that are free at a time
  size_t now = 0;
  for (size_t cost = parts.size(); cost-- > 0;) {
    for (int32_t left = parts[cost]; left > 0;) {
      while (places[now] == 0) ++now;
      const int32_t taken = std::min(left, places[now]);
      places.resize(std::max(places.size(), now + cost + 1));
      places[now] -= taken, places[now + cost] += taken, left -= taken;
    }
  }
  // From when on half of them have nothing more to do the others are alone.
  size_t half = places.size() - 1;
  for (int32_t busy = places[half]; busy < multiprocessors; busy += places[half]) --half;
  return kStep * (kBeside * static_cast<int64_t>(half) + kAlone * static_cast<int64_t>(places.size() - 1 - half));
}

int64_t time_of(std::span<const RowTile> tiles, const Cut& cut, const TilesRoom& room) {
  std::vector<int32_t> parts;
  int64_t records = 0;
  for (const RowTile& tile : tiles) {
    const Bounds bounds(tile, cut);
    records += bounds.records();
    for (int32_t part = 0; part < bounds.parts(); ++part) {
      const auto cost = static_cast<size_t>(cost_of(tile, bounds[part], bounds[part + 1]));
      parts.resize(std::max(parts.size(), cost + 1));
      ++parts[cost];
    }
  }
  return time_of(parts, std::max(1, room.multiprocessors / room.blocks_of_item)) +
         (records == 0 ? 0 : kTimeOfJoin + records * room.blocks_of_item / kRecordsOfTime);
}

}  // namespace

TilesPlan plan_tiles(std::span<const RowTile> tiles, const TilesRoom& room) {
  TilesPlan plan;
  if (tiles.empty()) return plan;
  int32_t most = 0;  // splits of a tile
  int64_t all = 0;
  for (const RowTile& tile : tiles) {
    const int32_t splits = end_of(tile) - begin_of(tile);
    most = std::max(most, splits);
    all += splits;
  }
  const int32_t turn = std::max(1, room.multiprocessors / room.blocks_of_item);
  // As they are, unless this is clearly slower than in parts of about as many splits as there are for a block, or of a half or a third of them.
  const auto each = static_cast<int32_t>(div_ceil<int64_t>(all, 2 * turn));
  Cut best{most, most};
  int64_t least = time_of(tiles, best, room) * 31 / 32;
  for (const int32_t length : {each + 2, each + 1, each, div_ceil(each, 2), div_ceil(each, 3)}) {
    if (length >= most) continue;
    for (const Cut& wanted :
         {Cut{length, length}, Cut{length, std::max(1, length - 1)}}) {  // parts that are alike, or a rest
      const Cut cut = with_room(tiles, wanted, most, room.records);
      const int64_t time = time_of(tiles, cut, room);
      if (time < least) least = time, best = cut;
    }
  }

  std::vector<std::pair<int32_t, TileItem>> parts;
  for (const RowTile& tile : tiles) {
    const Bounds bounds(tile, best);
    const bool cut = bounds.parts() > 1;
    if (cut) plan.joins.push_back({tile.first_row, tile.rows, bounds[1], plan.records});
    for (int32_t part = 0; part < bounds.parts(); ++part) {
      const int32_t record = !cut ? -1 : part == 0 ? plan.records : plan.records + 1 + bounds[part] - bounds[1];
      parts.push_back({cost_of(tile, bounds[part], bounds[part + 1]),
                       {tile.first_row, tile.rows, bounds[part], bounds[part + 1], record}});
    }
    plan.records += bounds.records();
  }
  // The longest first. Where all have a place at once, blocks from the middle on come beside those from the beginning on, and the longest stay alone.
  std::ranges::stable_sort(parts, std::greater<>(), [](const auto& part) { return part.first; });
  const size_t once = static_cast<size_t>(turn);
  if (parts.size() > once && parts.size() <= 2 * once) std::reverse(parts.begin(), parts.begin() + turn);
  for (const auto& part : parts) plan.parts.push_back(part.second);
  return plan;
}

}  // namespace carat::cuda
