// The arithmetic as all.inl words it, written once more as scalar loops that know nothing of lanes, panels or tiles:
// every kernel must give these bits, at the widths of every real model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/random_model.h"
#include "base/half.h"
#include "formats/quantize.h"
#include "support/compare.h"

namespace carat::cpu {
namespace {

float halves(std::vector<float> parts) {
  for (size_t n = parts.size() / 2; n > 0; n /= 2) {
    for (size_t i = 0; i < n; ++i) parts[i] += parts[i + n];
  }
  return parts[0];
}

float inverse_rms(const float* x, size_t count, float epsilon) {
  std::vector<float> parts(128, 0.0f);
  for (size_t i = 0; i < count; ++i) parts[i % 128] = std::fma(x[i], x[i], parts[i % 128]);
  return 1.0f / std::sqrt(halves(parts) / static_cast<float>(count) + epsilon);
}

struct Block {
  int32_t q[32];
  float scale, min;
};

Block round_block(const float* x) {
  Block block{};
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[i]));
  block.scale = largest / 16383.0f;
  for (int i = 0; i < 32; ++i) block.q[i] = static_cast<int32_t>(std::nearbyint(x[i] * (16383.0f / largest)));
  return block;
}

// Block `index` of a row in the file: u - offset, scale and minimum.
Block file_block(DType type, const std::byte* row, size_t index) {
  Block block{};
  const size_t bytes = type == DType::kQ8_0 ? 34 : type == DType::kQ4_0 ? 18 : 20;
  uint8_t b[34];
  std::memcpy(b, row + index * bytes, bytes);
  const auto half = [&](size_t at) { return f16_to_float(static_cast<uint16_t>(b[at] | b[at + 1] << 8)); };
  block.scale = half(0);
  if (type == DType::kQ4_1) block.min = half(2);
  for (size_t i = 0; i < 32; ++i) {
    if (type == DType::kQ8_0) {
      block.q[i] = static_cast<int8_t>(b[2 + i]);
    } else {
      const uint8_t byte = b[bytes - 16 + i % 16];
      block.q[i] = (i < 16 ? byte & 15 : byte >> 4) - (type == DType::kQ4_0 ? 8 : 0);
    }
  }
  return block;
}

float product(DType type, const std::byte* row, const std::vector<Block>& x, float factor) {
  float total = 0;
  for (size_t segment = 0; segment < x.size(); segment += 4) {
    float acc = 0;
    for (size_t i = segment; i < std::min(segment + 4, x.size()); ++i) {
      const Block w = file_block(type, row, i);
      int32_t isum = 0;
      int32_t sum = 0;
      for (int j = 0; j < 32; ++j) {
        isum += w.q[j] * x[i].q[j];
        sum += x[i].q[j];
      }
      acc = std::fma(static_cast<float>(isum), w.scale * x[i].scale, acc);
      if (type == DType::kQ4_1) acc = std::fma(static_cast<float>(sum), w.min * x[i].scale, acc);
    }
    total = segment == 0 ? acc : total + acc;
  }
  return total * factor;
}

// A row of 16-bit weights: sixteen columns are rounded to 14 bits by the power of two of their largest.
float half_product(DType type, const std::byte* row, const std::vector<Block>& x, float factor) {
  const auto weight = [&](size_t column) {
    uint16_t bits;
    std::memcpy(&bits, row + 2 * column, 2);
    return type == DType::kF16 ? f16_to_float(bits) : bf16_to_float(bits);
  };
  float total = 0;
  for (size_t segment = 0; segment < x.size(); segment += 4) {
    float acc = 0;
    for (size_t sub = 2 * segment; sub < 2 * std::min(segment + 4, x.size()); ++sub) {
      float largest = 0;
      for (size_t j = 0; j < 16; ++j) largest = std::max(largest, std::abs(weight(16 * sub + j)));
      const int exponent = largest < 0x1p-114f ? -114 : std::ilogb(largest);
      int64_t isum = 0;
      for (size_t j = 0; j < 16; ++j) {
        const double rounded = std::nearbyint(std::ldexp(double{weight(16 * sub + j)}, 12 - exponent));
        isum += static_cast<int64_t>(rounded) * x[sub / 2].q[16 * (sub % 2) + j];
      }
      EXPECT_LE(std::abs(isum), std::numeric_limits<int32_t>::max());
      acc = std::fma(static_cast<float>(isum), std::ldexp(1.0f, exponent - 12) * x[sub / 2].scale, acc);
    }
    total = segment == 0 ? acc : total + acc;
  }
  return total * factor;
}

// Widths of the 270M, 1B, 4B, 12B and 27B: D, H * E, F.
const std::vector<int64_t> kWidths = {640,  1152, 2560,  3840,  5376,  1024, 2048,
                                      4096, 6912, 10240, 15360, 21504, 32,   160};

TEST(Definition, ProductsAtEveryRealWidth) {
  constexpr size_t kRows = 23;    // the second panel is not full
  constexpr int64_t kTokens = 7;  // more than a matvec takes, no whole tile
  for (const DType type : {DType::kQ4_0, DType::kQ4_1, DType::kQ8_0, DType::kF16, DType::kBF16}) {
    const auto expected_product = is_quantised(type) ? product : half_product;
    for (const int64_t columns : kWidths) {
      const auto width = static_cast<size_t>(columns);
      std::mt19937 random(static_cast<unsigned>(columns));
      const std::vector<float> floats = test::normal_floats(random, kRows * width, 1.0f);
      std::vector<std::byte> file(*dtype_bytes(type, floats.size()));
      quantize(type, floats.data(), file.data(), static_cast<int64_t>(floats.size()));
      std::vector<float> values = test::normal_floats(random, kTokens * width, 1.0f);
      std::vector<float> factors = test::normal_floats(random, kTokens, 1.0f);

      std::vector<float> expected;
      for (size_t t = 0; t < kTokens; ++t) {
        std::vector<Block> x;
        for (size_t i = 0; i < width; i += 32) x.push_back(round_block(&values[t * width + i]));
        for (size_t r = 0; r < kRows; ++r) {
          expected.push_back(expected_product(type, file.data() + r * file.size() / kRows, x, factors[t]));
        }
      }
      for (const Kernels* kernels : available_kernels()) {
        PackedMatrix matrix;
        matrix.type = type;
        matrix.rows = kRows;
        matrix.columns = columns;
        matrix.panel_bytes = pack_format(type).panel_bytes(columns);
        std::vector<uint8_t> panels(matrix.bytes() + 8192);
        matrix.data = panels.data();
        kernels->pack(matrix, reinterpret_cast<const uint8_t*>(file.data()), file.size() / kRows, panels.data(), 0,
                      matrix.panels());
        std::vector<int16_t> ints(values.size());
        std::vector<float> scales(values.size() / 32), sums(size_t{2} * 8 * kPanelRows);
        std::vector<int32_t> int_sums(values.size() / 16);
        std::vector<uint8_t> piece(kPanelScratchBytes);
        const Activations x{values.data(), ints.data(), scales.data(), int_sums.data(), columns, factors.data()};
        for (int64_t t = 0; t < kTokens; ++t) kernels->round_row(x, t);
        Scratch scratch{};
        scratch.sums = sums.data();
        scratch.panel = piece.data();
        for (const int64_t tokens : {int64_t{1}, int64_t{4}, kTokens}) {
          // A canary after each row: the last panel has room for nine rows more than the matrix.
          std::vector<float> out(static_cast<size_t>(tokens) * (kRows + 1), 77.0f);
          kernels->matmul(matrix, x, tokens, out.data(), kRows + 1, 0, matrix.panels(), scratch);
          for (size_t t = 0; t < static_cast<size_t>(tokens); ++t) {
            const std::span row = std::span(out).subspan(t * (kRows + 1), kRows + 1);
            ASSERT_TRUE(test::same_bits(row.first(kRows), std::span(expected).subspan(t * kRows, kRows)))
                << kernels->name << ' ' << dtype_info(type).name << ", " << columns << " columns, row " << t << " of "
                << tokens;
            ASSERT_EQ(row[kRows], 77.0f);
          }
        }
      }
    }
  }
}

// The largest sums that there are, weights of both ends of their range, and rows without any.
TEST(Definition, SixteenBitWeightsAtTheEndsOfTheirRange) {
  constexpr int64_t kColumns = 160;
  struct Case {
    DType type;
    uint16_t weight, other;  // the first of sixteen columns, the others
  };
  const Case cases[] = {
      {DType::kBF16, 0x3fff, 0x3fff}, {DType::kBF16, 0xbfff, 0xbfff},                                  // 255/128
      {DType::kF16, 0x3fff, 0x3fff},  {DType::kBF16, 0x7f7f, 0x3f80}, {DType::kBF16, 0x7f7f, 0x7f7f},  // the largest
      {DType::kF16, 0x7bff, 0x7bff},  {DType::kBF16, 0x0001, 0x0001}, {DType::kBF16, 0x0080, 0x0001},  // the least
      {DType::kF16, 0x0001, 0x8001},  {DType::kBF16, 0x0000, 0x8000}, {DType::kBF16, 0x06ff, 0x0601},
  };
  for (const Case& c : cases) {
    std::vector<uint16_t> file(16 * kColumns);
    for (size_t i = 0; i < file.size(); ++i) file[i] = i % 16 == 0 ? c.weight : c.other;
    std::vector<float> values(kColumns, 1.0f), factors = {0x1p-10f};
    std::vector<Block> x;
    for (size_t i = 0; i < kColumns; i += 32) x.push_back(round_block(&values[i]));
    const float expected = half_product(c.type, reinterpret_cast<const std::byte*>(file.data()), x, factors[0]);
    for (const Kernels* kernels : available_kernels()) {
      PackedMatrix matrix{c.type, 16, kColumns, pack_format(c.type).panel_bytes(kColumns), nullptr};
      std::vector<uint8_t> panels(matrix.bytes() + 8192);
      matrix.data = panels.data();
      kernels->pack(matrix, reinterpret_cast<const uint8_t*>(file.data()), kColumns * 2, panels.data(), 0, 1);
      std::vector<int16_t> ints(values.size());
      std::vector<float> scales(values.size() / 32), sums(size_t{2} * 4 * kPanelRows), out(16);
      std::vector<int32_t> int_sums(values.size() / 16);
      std::vector<uint8_t> piece(kPanelScratchBytes);
      const Activations x_rows{values.data(), ints.data(), scales.data(), int_sums.data(), kColumns, factors.data()};
      kernels->round_row(x_rows, 0);
      Scratch scratch{};
      scratch.sums = sums.data();
      scratch.panel = piece.data();
      kernels->matmul(matrix, x_rows, 1, out.data(), 16, 0, 1, scratch);
      EXPECT_TRUE(test::same_bits(out, std::vector<float>(16, expected))) << kernels->name << ' ' << c.weight;
    }
  }
}

TEST(Definition, NormsAtEveryRealWidth) {
  for (const int64_t width : {640, 1152, 2560, 3840, 5376, 256, 128, 64, 16, 144}) {
    std::mt19937 random(static_cast<unsigned>(width));
    const auto count = static_cast<size_t>(width);
    const std::vector<float> x = test::normal_floats(random, count, 100.0f);
    const std::vector<float> weight = test::normal_floats(random, count, 1.0f);
    const float inverse = inverse_rms(x.data(), count, 1e-6f);
    std::vector<float> expected;
    for (size_t i = 0; i < count; ++i) expected.push_back(x[i] * inverse * weight[i]);
    for (const Kernels* kernels : available_kernels()) {
      std::vector<float> out(count + 1, 77.0f);
      kernels->rms_norm(x.data(), weight.data(), out.data(), width, 1e-6f);
      EXPECT_TRUE(test::same_bits(std::span(out).first(count), expected)) << kernels->name << ' ' << width;
      EXPECT_EQ(out.back(), 77.0f);
    }
  }
}

// What is not a number stays none, wherever it stands, and touches nothing else.
constexpr float kInfinity = std::numeric_limits<float>::infinity();
const std::vector<float> kNotFinite = {std::numeric_limits<float>::quiet_NaN(),
                                       -std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity};

TEST(NotFinite, ARoundedBlockHasTheScaleNan) {
  for (const Kernels* kernels : available_kernels()) {
    for (const float damage : kNotFinite) {
      for (size_t at = 0; at < 96; ++at) {
        std::vector<float> values(96, 1.5f);
        values[at] = damage;
        std::vector<int16_t> stored(96, 77), ints(96, 77);
        std::vector<float> scales(3);
        std::vector<int32_t> sums(6);
        const Activations x{values.data(), stored.data(), scales.data(), sums.data(), 96};
        kernels->round_row(x, 0);
        kernels->rounded_row(x, 0, ints.data());
        for (size_t block = 0; block < 3; ++block) {
          EXPECT_EQ(std::isnan(scales[block]), block == at / 32) << kernels->name << ' ' << at;
          EXPECT_EQ(ints[block * 32], block == at / 32 ? 0 : 16383);
        }
      }
    }
  }
}

TEST(NotFinite, ANormIsNan) {
  for (const Kernels* kernels : available_kernels()) {
    for (const float damage :
         {kNotFinite[0], kNotFinite[2], kNotFinite[3], 1e30f}) {  // the last one's square overflows
      for (size_t at = 0; at < 144; ++at) {
        std::vector<float> x(144, 1.0f), weight(144, 1.0f), out(144);
        x[at] = damage;
        kernels->rms_norm(x.data(), weight.data(), out.data(), 144, 1e-6f);
        for (const float y : out) ASSERT_TRUE(std::isnan(y)) << kernels->name << ' ' << damage << " at " << at;
      }
    }
  }
}

TEST(NotFinite, ExpAndGeluKeepIt) {
  for (const Kernels* kernels : available_kernels()) {
    for (size_t at = 0; at < 16; ++at) {
      std::vector<float> x(16, 0.5f), one(16, 1.0f), out(16);
      x[at] = kNotFinite[0];
      kernels->exp(x.data(), out.data(), 16);
      for (size_t i = 0; i < 16; ++i) EXPECT_EQ(std::isnan(out[i]), i == at) << kernels->name;
      kernels->gelu_mul(x.data(), one.data(), out.data(), 16);
      for (size_t i = 0; i < 16; ++i) EXPECT_EQ(std::isnan(out[i]), i == at) << kernels->name;
      kernels->gelu_mul(one.data(), x.data(), out.data(), 16);
      for (size_t i = 0; i < 16; ++i) EXPECT_EQ(std::isnan(out[i]), i == at) << kernels->name;
    }
  }
}

}  // namespace
}  // namespace carat::cpu
