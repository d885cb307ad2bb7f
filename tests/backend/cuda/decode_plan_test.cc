// The shares of decode_row's blocks: everything once, nobody with more than needs be.
#include "backend/cuda/decode_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace carat::cuda {
namespace {

// Addresses that tell matrices apart; nothing is read.
TileMatrix matrix(TileType type, int rows, int columns) {
  static uint64_t next = uint64_t{1} << 32;
  TileMatrix m{};
  m.type = type;
  m.rows = rows;
  m.groups = (rows + kTileRows - 1) / kTileRows;
  m.chunks = (columns + kTileColumns - 1) / kTileColumns;
  m.data = reinterpret_cast<const uint8_t*>(next);
  next += uint64_t{1} << 30;
  return m;
}

struct Shape {
  TileType type, up, value;
  int width, between, queries, keys, blocks;
};
DecodeLayer layer_of(const Shape& s) {
  DecodeLayer layer{};
  if (s.type == s.value) {
    layer.qkv[layer.qkv_parts++].matrix = matrix(s.type, s.queries + 2 * s.keys, s.width);
  } else {
    for (const auto& [type, rows] : {std::pair{s.type, s.queries}, {s.type, s.keys}, {s.value, s.keys}}) {
      layer.qkv[layer.qkv_parts++].matrix = matrix(type, rows, s.width);
    }
  }
  layer.attn_out.matrix = matrix(s.type, s.width, s.queries);
  if (s.type == s.up) {
    layer.gate_up[layer.gate_up_parts++].matrix = matrix(s.type, 2 * s.between, s.width);
  } else {
    for (const TileType type : {s.type, s.up})
      layer.gate_up[layer.gate_up_parts++].matrix = matrix(type, s.between, s.width);
  }
  layer.down.matrix = matrix(s.type, s.width, s.between);
  layer.rounded[2] = tile_format(s.type).quantised() ? 1 : 2;
  return layer;
}

class DecodePlanTest : public testing::TestWithParam<Shape> {};

TEST_P(DecodePlanTest, EveryGroupOnceAndNobodyHasMoreThanNeedsBe) {
  const Shape& s = GetParam();
  const DecodeLayer layers[] = {layer_of(s), layer_of(s)};
  const TileMatrix head = matrix(s.type, 4096, s.width);
  const auto blocks = static_cast<size_t>(s.blocks);
  const DecodePlan plan = plan_decode(layers, head, s.blocks);
  ASSERT_EQ(plan.shares.size(), 3 * blocks * kDecodeProducts);
  for (size_t i = 0; i < 2; ++i) {
    const auto stages = stages_of(layers[i]);
    for (size_t stage = 0; stage < stages.size(); ++stage) {
      const auto& [parts, unit] = stages[stage];
      const auto of = [&](size_t block) { return plan.shares[(i * blocks + block) * kDecodeProducts + stage]; };
      const bool gated = stage == 2 && parts.size() == 2;
      int units = 0, most = 0;
      for (size_t k = 0; k < parts.size(); ++k) {
        int next = 0;
        for (size_t block = 0; block < blocks; ++block) {
          EXPECT_EQ(of(block).of[k].first, next);
          EXPECT_EQ(of(block).of[k].slots % unit, 0);
          if (gated) {
            EXPECT_EQ(of(block).of[1].slots, of(block).of[0].slots);
          }
          next += of(block).of[k].slots;
        }
        EXPECT_EQ(next, parts[k].matrix.groups);
        if (!gated || k == 0) units += next / unit;
      }
      for (size_t block = 0; block < blocks; ++block) {
        int of_block = 0;
        for (size_t k = 0; k < (gated ? 1 : parts.size()); ++k) of_block += of(block).of[k].slots / unit;
        most = std::max(most, of_block);
      }
      EXPECT_EQ(most, (units + s.blocks - 1) / s.blocks) << "stage " << stage;
    }
  }
  if (s.width == 1152) {
    EXPECT_LE(std::max(plan.apart_layers, plan.apart_head), 3);
  }
  // All bytes come to somebody once, and over a layer to everybody about as many.
  std::map<uint64_t, uint64_t> copies;
  std::vector<uint64_t> bytes(blocks);
  for (size_t block = 0; block < blocks; ++block) {
    for (uint32_t i = plan.first[block]; i < plan.first[block + 1]; ++i) {
      const uint64_t size = (plan.pieces[i] >> 48) * 16, at = plan.pieces[i] & 0xfffffffffff0ull;
      EXPECT_TRUE(copies.emplace(at, size).second);
      if (i < plan.head[block]) bytes[block] += size;
    }
  }
  uint64_t all = 0, wanted = 0;  // of the layers
  for (const auto& [at, size] : copies) all += size;
  const auto bytes_of = [](const TileMatrix& m) {
    return static_cast<uint64_t>(m.groups) * static_cast<uint64_t>(m.chunks) *
           static_cast<uint64_t>(tile_format(m.type).tile_bytes());
  };
  for (const DecodeLayer& layer : layers) {
    for (const DecodeStage& stage : stages_of(layer)) {
      for (const DecodePart& part : stage.parts) wanted += bytes_of(part.matrix);
    }
  }
  EXPECT_EQ(all, wanted + bytes_of(head));
  if (s.width == 1152) {
    const uint64_t percent = tile_format(s.type).quantised() ? 110 : 104;  // 32 neighbours of gate and up stay together
    EXPECT_LE(*std::max_element(bytes.begin(), bytes.end()) * blocks, wanted * percent / 100);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, DecodePlanTest,
    testing::Values(Shape{TileType::kQ4_0, TileType::kQ4_0, TileType::kQ4_0, 1152, 6912, 1024, 256, 132},
                    Shape{TileType::kBF16, TileType::kBF16, TileType::kBF16, 1152, 6912, 1024, 256, 132},
                    Shape{TileType::kQ5_0, TileType::kQ4_0, TileType::kQ8_0, 1152, 6912, 1024, 256, 132},
                    Shape{TileType::kBF16, TileType::kBF16, TileType::kBF16, 1152, 6912, 1024, 256, 8},
                    Shape{TileType::kQ8_0, TileType::kQ8_0, TileType::kQ8_0, 640, 2048, 1024, 256, 132},
                    Shape{TileType::kBF16, TileType::kF16, TileType::kF32, 640, 2048, 1024, 256, 132},
                    Shape{TileType::kQ4_0, TileType::kQ4_0, TileType::kQ4_0, 128, 256, 128, 64, 3}));

}  // namespace
}  // namespace carat::cuda
