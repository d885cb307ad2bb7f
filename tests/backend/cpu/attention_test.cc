// Attention over paged keys and values against a double-precision oracle: random visible ranges, tiles of rows that see
// different keys, splits as tasks of their own, every ISA. Cache slots that no row may read hold NaN.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/random_model.h"
#include "base/half.h"
#include "base/threads.h"
#include "support/compare.h"

namespace carat::cpu {
namespace {

constexpr int32_t kPageTokens = 64;
constexpr uint16_t kNanHalf = 0x7e00;

struct Shape {
  int32_t kv_heads, group, head_size, window;
};

// A sequence of `keys` positions whose last `rows` ones are being computed, on one layer of either kind.
struct Sequence {
  Shape shape;
  int32_t keys, rows;
  std::vector<float> query, key, value;  // [rows][H*E], [keys][K*E] twice
  std::vector<int32_t> last_key;         // [rows]

  Sequence(const Shape& s, int32_t key_count, int32_t row_count, bool ranges, unsigned seed)
      : shape(s), keys(key_count), rows(row_count) {
    std::mt19937 random(seed);
    const auto E = static_cast<size_t>(s.head_size);
    const auto K = static_cast<size_t>(s.kv_heads);
    query = test::normal_floats(random, static_cast<size_t>(rows) * K * static_cast<size_t>(s.group) * E,
                                2.0f / std::sqrt(static_cast<float>(E)));
    key = test::normal_floats(random, static_cast<size_t>(keys) * K * E, 1.0f);
    value = test::normal_floats(random, key.size(), 1.0f);
    for (int32_t row = 0; row < rows; ++row) {
      const int32_t own = keys - rows + row;
      last_key.push_back(ranges ? own + static_cast<int32_t>(random() % static_cast<unsigned>(keys - own)) : own);
    }
  }
  int32_t position(int32_t row) const { return keys - rows + row; }
  int32_t first_key(int32_t row, LayerKind kind) const {
    return kind == kGlobal ? 0 : std::max(0, position(row) - shape.window + 1);
  }
};

// What the attention of every row must be, and how far float arithmetic may be from it.
struct Expected {
  std::vector<float> out;  // [rows][H*E]
  std::vector<double> tolerance;

  Expected(const Sequence& s, LayerKind kind) {
    const auto E = static_cast<size_t>(s.shape.head_size);
    const int32_t heads = s.shape.kv_heads * s.shape.group;
    for (int32_t row = 0; row < s.rows; ++row) {
      for (int32_t head = 0; head < heads; ++head) {
        const float* q = &s.query[static_cast<size_t>(row * heads + head) * E];
        const auto kv = [&](const std::vector<float>& of, int32_t at, size_t e) {
          return double{f16_to_float(
              float_to_f16(of[static_cast<size_t>(at * s.shape.kv_heads + head / s.shape.group) * E + e]))};
        };
        std::vector<double> weights;
        double score_error = 0;
        for (int32_t at = s.first_key(row, kind); at <= s.last_key[static_cast<size_t>(row)]; ++at) {
          double score = 0;
          double magnitude = 0;
          for (size_t e = 0; e < E; ++e) {
            score += q[e] * kv(s.key, at, e);
            magnitude += std::abs(q[e] * kv(s.key, at, e));
          }
          weights.push_back(score);
          score_error = std::max(score_error, static_cast<double>(E) * 0x1p-24 * magnitude);
        }
        const double largest = *std::max_element(weights.begin(), weights.end());
        double sum = 0;
        for (double& w : weights) sum += w = std::exp(w - largest);
        for (size_t e = 0; e < E; ++e) {
          double mix = 0;
          double magnitude = 0;
          for (size_t i = 0; i < weights.size(); ++i) {
            const double term = weights[i] / sum * kv(s.value, s.first_key(row, kind) + static_cast<int32_t>(i), e);
            mix += term;
            magnitude += std::abs(term);
          }
          out.push_back(static_cast<float>(mix));
          // Weights carry the error of two scores and of two exps (of a difference below 32, so 32 units of its own
          // rounding); sums of 256 keys and of the splits round once an addition, above and below the line.
          tolerance.push_back(magnitude * (2 * score_error + (2 * 34 + 2 * (256 + 3.0 * s.keys / 256 + 3)) * 0x1p-24));
        }
      }
    }
  }
};

// The same, computed by `kernels`: in tiles of `tile` rows, or with every split as a task.
std::vector<float> attend(const Kernels& kernels, const Sequence& s, LayerKind kind, int tile, bool by_split) {
  const auto E = static_cast<size_t>(s.shape.head_size);
  const int32_t heads = s.shape.kv_heads * s.shape.group;
  const int32_t pages = (s.keys + kPageTokens - 1) / kPageTokens;
  // The ring of a sliding layer is as short as it may be; its pages, and the global ones, in a random order.
  const int32_t first = s.first_key(0, kind) / kPageTokens;
  const int32_t ring = pages - first;
  std::vector<int32_t> table(static_cast<size_t>(kind == kGlobal ? pages : ring));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i) + 1;  // page 0 is nobody's
  std::shuffle(table.begin(), table.end(), std::mt19937(7));
  const size_t halves = (table.size() + 2) * static_cast<size_t>(s.shape.kv_heads) * kPageTokens * E;
  std::vector<uint16_t> k_cache(halves, kNanHalf);
  std::vector<uint16_t> v_cache(halves, kNanHalf);

  ModelPack model{};
  model.heads = heads;
  model.kv_heads = s.shape.kv_heads;
  model.head_size = s.shape.head_size;
  model.window = s.shape.window;
  LayerPack layer{};
  layer.kind = kind;
  layer.k_cache = k_cache.data();
  layer.v_cache = v_cache.data();
  layer.page_stride = int64_t{s.shape.kv_heads} * kPageTokens * s.shape.head_size;
  RowPlan row{};
  row.pages[kind] = table.data();
  row.page_count[kind] = static_cast<int32_t>(table.size());
  row.partial[kind] = -1;
  for (int32_t at = kind == kGlobal ? 0 : first * kPageTokens; at < s.keys; ++at) {
    row.position = at;
    for (int32_t head = 0; head < s.shape.kv_heads; ++head) {
      const size_t from = static_cast<size_t>(at * s.shape.kv_heads + head) * E;
      kernels.store_key_value(model, layer, row, head, &s.key[from], &s.value[from]);
    }
  }

  std::vector<RowPlan> plan;
  std::vector<AttnTask> tasks;
  int64_t slots = 0;
  for (int32_t r = 0; r < s.rows; ++r) {
    row.position = s.position(r);
    row.last_key = s.last_key[static_cast<size_t>(r)];
    const int32_t begin = s.first_key(r, kind) / kSplitKeys;
    const int32_t end = row.last_key / kSplitKeys + 1;
    row.partial[kind] = by_split ? slots : -1;
    slots += int64_t{end - begin} * heads;
    plan.push_back(row);
    for (int32_t head = 0; head < s.shape.kv_heads; ++head) {
      for (int32_t split = begin; by_split && split < end; ++split)
        tasks.push_back({r, 1, head, split, split + 1, true});
      if (by_split || r % tile != 0) continue;
      const int32_t count = std::min(tile, s.rows - r);
      const int32_t last = *std::max_element(s.last_key.begin() + r, s.last_key.begin() + r + count);
      tasks.push_back({r, count, head, begin, last / kSplitKeys + 1, false});
    }
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> out(s.query.size(), nan);
  std::vector<float> partials(static_cast<size_t>(slots) * (E + 16), nan);
  std::vector<float> query = s.query;
  std::vector<float> scores(size_t{kTileRows} * kSplitKeys, nan);
  std::vector<float> part(kTileRows * E, nan);
  std::vector<float> running(kTileRows * (E + 16), nan);
  Scratch scratch{};
  scratch.scores = scores.data();
  scratch.part = part.data();
  scratch.running = running.data();
  const auto team = Team::create(1);
  ForwardContext context{};
  context.team = team->get();
  context.model = &model;
  context.plan = plan.data();
  context.query = query.data();
  context.attended.values = out.data();
  context.partials = partials.data();
  std::vector<int32_t> arrived(static_cast<size_t>(s.rows * s.shape.kv_heads), 0);
  context.arrived = arrived.data();
  for (const AttnTask& task : tasks) kernels.attend(context, layer, task, false, scratch);
  EXPECT_EQ(arrived, std::vector<int32_t>(arrived.size(), 0));
  return out;
}

void check(const Sequence& s) {
  const int largest_tile = std::max(1, kTileRows / s.shape.group);
  for (const LayerKind kind : kLayerKinds) {
    const std::vector<float> portable = attend(portable_kernels(), s, kind, largest_tile, false);
    const Expected expected(s, kind);
    ASSERT_TRUE(test::all_within(portable, expected.out, expected.tolerance)) << "kind " << kind;
    for (const Kernels* kernels : available_kernels()) {
      for (const int tile : {1, largest_tile}) {
        ASSERT_TRUE(test::same_bits(attend(*kernels, s, kind, tile, false), portable)) << kernels->name << ' ' << tile;
      }
      ASSERT_TRUE(test::same_bits(attend(*kernels, s, kind, 1, true), portable)) << kernels->name << " by split";
    }
  }
}

TEST(Attention, EveryHeadSizeAndGroupOverManySplits) {
  for (const int32_t head_size : {128, 256}) {
    for (const int32_t group : {1, 2, 4, 8}) check(Sequence({2, group, head_size, 300}, 1100, 5, false, 1));
  }
}

// Rows see ahead, as those of an image do, each a different number of keys: never what lies behind the window.
TEST(Attention, RandomVisibleRanges) {
  for (unsigned seed = 0; seed < 12; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](unsigned n) { return static_cast<int32_t>(random() % n); };
    const int32_t rows = 1 + below(90);
    const Shape shape{1 + below(2), 1 << below(4), 64, 1 + below(400)};
    check(Sequence(shape, rows + below(600), rows, true, seed));
  }
}

// Rows that see a damaged key or value are NaN where it counts; the others do not notice it.
TEST(Attention, WhatIsNotFiniteReachesWhoSeesItAndNobodyElse) {
  constexpr size_t kSize = 64;
  for (const float damage : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (const bool in_key : {true, false}) {
      const Sequence whole({1, 2, kSize, 40}, 300, 70, true, 3);
      Sequence broken = whole;
      constexpr int32_t kAt = 262;
      (in_key ? broken.key : broken.value)[kAt * kSize + 5] = damage;
      for (const LayerKind kind : kLayerKinds) {
        for (const Kernels* kernels : available_kernels()) {
          for (const bool by_split : {false, true}) {
            const std::vector<float> expected = attend(*kernels, whole, kind, 8, by_split);
            const std::vector<float> out = attend(*kernels, broken, kind, 8, by_split);
            for (size_t i = 0; i < out.size(); ++i) {
              const auto row = static_cast<int32_t>(i / (2 * kSize));
              const bool sees = whole.first_key(row, kind) <= kAt && whole.last_key[static_cast<size_t>(row)] >= kAt;
              if (sees && (in_key || i % kSize == 5)) {
                ASSERT_TRUE(std::isnan(out[i])) << kernels->name << ' ' << row;
              } else {
                ASSERT_EQ(out[i], expected[i]) << kernels->name << ' ' << row;
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace carat::cpu
