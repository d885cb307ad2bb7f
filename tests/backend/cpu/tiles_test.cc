// Products by tiles: the emulated ones on every machine, AMX where it is, against portable, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/cpu/amx.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/isa_tiles.h"
#include "backend/cpu/kernel_inputs.h"
#include "backend/cpu/random_forward.h"
#include "base/machine.h"
#include "support/compare.h"

namespace carat::cpu {
namespace {

using test::emulated_tiles_kernels;
using test::Matrix;
using test::product;
using test::RandomModel;
using test::Rows;

std::vector<const Kernels*> kernels_with_tiles() {
  std::vector<const Kernels*> kernels = {&emulated_tiles_kernels()};
  for (const Kernels* each : available_kernels()) {
    if (each->has_tiles(DType::kQ4_0)) kernels.push_back(each);
  }
  return kernels;
}

TEST(Tiles, AreForTypesOfUpToSixBitsAndOneScale) {
  const std::vector<DType> types = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ4_K, DType::kQ5_K};
  for (const DType type : test::all_types()) {
    const bool expected = std::find(types.begin(), types.end(), type) != types.end();
    for (const Kernels* kernels : kernels_with_tiles()) EXPECT_EQ(kernels->has_tiles(type), expected);
    EXPECT_FALSE(portable_kernels().has_tiles(type));
  }
}

TEST(Tiles, GiveThePortableBits) {
  constexpr int64_t kRows = 5 * 16 - 3;  // a panel is left over, and it is not full
  const std::vector<int64_t> counts = {5, 15, 16, 17, 24, 31, 32, 33, 48, 65, 144};
  for (const DType type : test::all_types()) {
    if (!emulated_tiles_kernels().has_tiles(type)) continue;
    for (const int64_t columns : {256, 384, 1280}) {  // a chunk, one and a half, five
      if (columns % dtype_info(type).block_elements != 0) continue;
      const Matrix matrix(portable_kernels(), type, kRows, columns, 4);
      const Rows rows(portable_kernels(), counts.back(), columns, 5);
      const std::vector<float> whole = product(portable_kernels(), matrix, rows, counts.back());
      for (const Kernels* kernels : kernels_with_tiles()) {
        const Matrix own(*kernels, type, kRows, columns, 4);
        const Rows own_rows(*kernels, counts.back(), columns, 5, type);
        for (const int64_t count : counts) {
          const std::vector<float> out = product(*kernels, own, own_rows, count);
          ASSERT_TRUE(test::same_bits(out, std::span(whole).first(out.size())))
              << kernels->name << ' ' << dtype_info(type).name << ' ' << count << " rows, " << columns << " columns";
        }
      }
    }
  }
}

// A matrix of blocks that are all `block`, times rows of `value`.
std::vector<float> extreme(const Kernels& kernels, DType type, const std::vector<uint8_t>& block, float value) {
  constexpr int64_t kColumns = 256;
  constexpr size_t kCount = 32;
  const size_t row_blocks = kColumns / static_cast<size_t>(dtype_info(type).block_elements);
  std::vector<uint8_t> file;
  for (size_t i = 0; i < kPanelRows * row_blocks; ++i) file.insert(file.end(), block.begin(), block.end());
  PackedMatrix matrix{type, kPanelRows, kColumns, pack_format(type).panel_bytes(kColumns), nullptr};
  std::vector<uint8_t> panel(matrix.bytes() + 8192);
  matrix.data = panel.data();
  EXPECT_EQ(kernels.pack(matrix, file.data(), block.size() * row_blocks, panel.data(), 0, 1), -1);

  std::vector<float> values(kCount * kColumns, value), scales(values.size() / 32), out(kCount * kPanelRows);
  std::vector<int16_t> ints(values.size());
  std::vector<int32_t> sums(values.size() / 16);
  std::vector<uint8_t> tiles(values.size() / 512 * kTiledBlockBytes);
  Activations x{values.data(), ints.data(), scales.data(), sums.data(), kColumns};
  x.tiles = tiles.data();
  x.reads_tiles = kernels.has_tiles(type);
  for (size_t t = 0; t < kCount; ++t) kernels.round_row(x, static_cast<int64_t>(t));
  test::Workspace work;
  kernels.matmul(matrix, x, kCount, out.data(), kPanelRows, 0, 1, work.scratch);
  return out;
}

// The largest sums that there are: every weight at an end of its range, every activation +-16383.
TEST(Tiles, TheLargestSumsAreExact) {
  const auto filled = [](DType type, uint8_t byte) { return std::vector<uint8_t>(dtype_info(type).block_bytes, byte); };
  struct Case {
    DType type;
    std::vector<uint8_t> block;
  };
  std::vector<Case> cases;
  for (const uint8_t byte : {0x00, 0xff}) {
    for (const DType type : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ4_K, DType::kQ5_K}) {
      Case c{type, filled(type, byte)};
      // The scale comes first, and the minimum where there is one.
      const uint16_t scale = 0x3555;  // about a third
      std::memcpy(c.block.data(), &scale, 2);
      if (pack_format(type).has_min) std::memcpy(c.block.data() + 2, &scale, 2);
      cases.push_back(c);
    }
  }
  for (const Case& c : cases) {
    for (const float value : {1.7f, -1.7f}) {
      const std::vector<float> expected = extreme(portable_kernels(), c.type, c.block, value);
      for (const Kernels* kernels : kernels_with_tiles()) {
        EXPECT_TRUE(test::same_bits(extreme(*kernels, c.type, c.block, value), expected))
            << kernels->name << ' ' << dtype_info(c.type).name << ' ' << int{c.block[10]} << ' ' << value;
      }
    }
  }
}

// Steps of many rows and of few, layers whose matrices want different tiles or none.
TEST(Tiles, AForwardOfThemHasThePortableBits) {
  for (const DType other : {DType::kQ6_K, DType::kQ8_0, DType::kF32}) {
    RandomModel model = test::random_model(DType::kQ4_K, 3);
    const RandomModel second = test::random_model(other, 3);
    for (size_t i = 0; i < model.weights.layers.size(); ++i) {
      auto& layer = model.weights.layers[i];
      const auto& from = second.weights.layers[i];
      if (i % 2 == 0) layer.v = from.v, layer.down = from.down;
      if (i % 3 == 0) layer.q = from.q, layer.up = from.up;
      if (i % 3 == 1) layer.gate = from.gate, layer.attn_out = from.attn_out;
    }
    const auto tokens = test::random_tokens(86, 4);
    const auto portable = test::open_random(model, "cpu/portable", 2);
    const std::vector<int32_t> chunks = {48, 33, 1, 4};
    const auto expected = test::chunked_logits(*portable, model.config, tokens, chunks);
    for (const Kernels* kernels : kernels_with_tiles()) {
      BackendOptions options;
      options.threads = 3;
      auto backend = create_cpu_backend(*kernels, options, model.config, model.weights);
      ASSERT_TRUE(backend.ok());
      ASSERT_TRUE((*backend)->reserve_kv({40, 40, test::kStepRows}).ok());
      EXPECT_TRUE(test::same_bits(test::chunked_logits(**backend, model.config, tokens, chunks), expected))
          << kernels->name << ' ' << dtype_info(other).name;
    }
  }
}

TEST(Amx, IsNotUsedWhereTheProcessorDoesNotHaveIt) {
  bool there = false;
  for (const std::string& feature : read_machine().features) there = there || feature == "amx_bf16";
  if (there) GTEST_SKIP() << "this processor has it";
  EXPECT_FALSE(amx_granted());
}

}  // namespace
}  // namespace carat::cpu
