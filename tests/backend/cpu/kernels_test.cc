// The kernels one by one: packing against the scalar dequantiser, products against a double-precision oracle, and every
// ISA that this machine has against the portable one, bit for bit.
#include "backend/cpu/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/kernel_inputs.h"
#include "support/compare.h"

namespace carat::cpu {
namespace {

using test::all_types;
using test::Matrix;
using test::normal_floats;
using test::product;
using test::Rows;

TEST(Pack, UnpackedRowsAreTheDequantisedOnes) {
  for (const Kernels* kernels : available_kernels()) {
    for (DType type : all_types()) {
      const Matrix matrix(*kernels, type, 37, 512, 1);  // 37: the last panel is not full
      std::vector<float> row(512);
      for (int64_t r = 0; r < 37; ++r) {
        kernels->unpack_row(matrix.packed, r, row.data());
        for (size_t c = 0; c < 512; ++c) {
          const float expected = matrix.values[static_cast<size_t>(r) * 512 + c];
          // Formats with minima fuse what the file's definition rounds twice: half a unit of each of the two terms,
          // which for these values are below 16.
          const bool exact = !is_quantised(type) || !pack_format(type).has_min;
          const float tolerance = exact ? 0.0f : 16.0f * std::numeric_limits<float>::epsilon();
          ASSERT_TRUE(std::abs(row[c] - expected) <= tolerance)
              << kernels->name << " " << dtype_info(type).name << " row " << r << " column " << c << ": " << row[c]
              << " " << expected;
        }
      }
      for (size_t i = matrix.packed.bytes(); i < matrix.panels.size(); ++i) ASSERT_EQ(matrix.panels[i], 0xff);
    }
  }
}

TEST(Matmul, IsTheProductOfWhatWasRounded) {
  const Kernels& kernels = portable_kernels();
  for (DType type : all_types()) {
    const bool as_integers = test::as_integers(type);
    const int64_t columns = 768;
    const int64_t count = 6;
    const Matrix matrix(kernels, type, 32, columns, 2);
    const Rows rows(kernels, count, columns, 3);
    const std::vector<float> out = product(kernels, matrix, rows, count);
    std::vector<float> expected(out.size());
    std::vector<double> tolerance(out.size());
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t r = 0; r < 32; ++r) {
        double sum = 0;
        double magnitude = 0;
        double rounded = 0;  // what the rounding of 16-bit weights makes of it at most
        for (int64_t c = 0; c < columns; ++c) {
          const float* row = &matrix.values[static_cast<size_t>(r * columns)];
          const double value = rows.value(t, c, as_integers);
          const double term = double{row[c]} * value;
          sum += term;
          magnitude += std::abs(term);
          if (is_quantised(type) || !as_integers) continue;
          float largest = 0;
          for (int64_t i = c / 16 * 16; i < c / 16 * 16 + 16; ++i) largest = std::max(largest, std::abs(row[i]));
          rounded += std::ldexp(std::abs(value), std::ilogb(largest) - 13);  // half a step of 2^-12
        }
        const auto at = static_cast<size_t>(t * 32 + r);
        expected[at] = static_cast<float>(sum);
        // A chain of roundings: one a column for floats; per block of quantised weights at most five (integer to
        // float, scale, product, twice where there are minima). Terms of a block with a minimum can be four times its
        // products.
        const double roundings = as_integers ? 5.0 * columns / 16 * 4 : static_cast<double>(columns);
        tolerance[at] = roundings * 0x1p-24 * magnitude + rounded;
      }
    }
    EXPECT_TRUE(test::all_within(out, expected, tolerance)) << dtype_info(type).name;
  }
}

TEST(Matmul, EveryIsaGivesThePortableBits) {
  const std::vector<int64_t> counts = {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 33, 65};
  for (DType type : all_types()) {
    for (int64_t columns : {256, 640 / 256 * 256 + 256, 1280}) {
      const Matrix matrix(portable_kernels(), type, 80, columns, 4);
      const Rows rows(portable_kernels(), counts.back(), columns, 5);
      const std::vector<float> whole = product(portable_kernels(), matrix, rows, counts.back());
      for (const Kernels* kernels : available_kernels()) {
        const Matrix own(*kernels, type, 80, columns, 4);
        const Rows own_rows(*kernels, counts.back(), columns, 5, type);
        ASSERT_EQ(own_rows.ints, rows.ints) << kernels->name;
        for (int64_t count : counts) {  // a row's result does not depend on its neighbours
          const std::vector<float> out = product(*kernels, own, own_rows, count);
          ASSERT_TRUE(test::same_bits(out, std::span(whole).first(out.size())))
              << kernels->name << " " << dtype_info(type).name << " " << count << " rows, " << columns << " columns";
        }
      }
    }
  }
}

TEST(Rounding, BlocksUseFifteenBits) {
  for (const Kernels* kernels : available_kernels()) {
    const Rows rows(*kernels, 3, 640, 7);
    for (size_t block = 0; block < 60; ++block) {
      int largest = 0;
      int32_t sum[2] = {};
      for (size_t i = 0; i < 32; ++i) {
        const size_t at = block * 32 + i;
        largest = std::max(largest, std::abs(int{rows.ints[at]}));
        sum[i / 16] += rows.ints[at];
        const double error = std::abs(double{rows.scales[block]} * rows.ints[at] - double{rows.values[at]});
        // Half a step, and the roundings of the scale, its inverse and the product.
        ASSERT_TRUE(error <= rows.scales[block] * (0.5 + 3 * 16383 * 0x1p-24));
      }
      EXPECT_EQ(largest, 16383) << kernels->name;
      EXPECT_EQ(rows.sums[block * 2], sum[0]);
      EXPECT_EQ(rows.sums[block * 2 + 1], sum[1]);
    }
  }
}

TEST(Rounding, ARowOfZerosIsZero) {
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> values(64, 0.0f);
    std::vector<int16_t> stored(64, 77), ints(64, 77);
    std::vector<float> scales(2, 77.0f);
    std::vector<int32_t> sums(4, 77);
    const Activations x{values.data(), stored.data(), scales.data(), sums.data(), 64};
    kernels->round_row(x, 0);
    kernels->rounded_row(x, 0, ints.data());
    EXPECT_EQ(ints, std::vector<int16_t>(64, 0));
    EXPECT_EQ(scales[0], 0.0f);
    EXPECT_EQ(sums, std::vector<int32_t>(4, 0));
  }
}

TEST(Exp, IsWithinTwoUnits) {
  std::vector<float> x;
  for (int i = -87 * 64; i <= 88 * 64; ++i) x.push_back(static_cast<float>(i) / 64.0f + 0.001f);
  x.resize(x.size() / 16 * 16);
  while (x.back() > 88.0f) x.back() = 0;
  std::vector<float> first;
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> y(x.size());
    kernels->exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = std::exp(double{std::max(-87.0f, x[i])});
      ASSERT_TRUE(std::abs(y[i] - exact) <= 2 * 0x1p-23 * exact) << kernels->name << " exp(" << x[i] << ") = " << y[i];
    }
    if (first.empty()) first = y;
    EXPECT_TRUE(test::same_bits(y, first)) << kernels->name;
  }
}

TEST(RowKernels, NormAndGeluMatchDoublePrecisionAndEachOther) {
  const int64_t count = 1152;
  std::mt19937 random(11);
  const std::vector<float> x = normal_floats(random, count, 3.0f);
  const std::vector<float> weight = normal_floats(random, count, 1.0f);
  double squares = 0;
  for (float v : x) squares += double{v} * v;
  const double inverse = 1 / std::sqrt(squares / count + 1e-6);
  std::vector<float> expected_norm(x.size()), expected_gelu(x.size());
  std::vector<double> norm_tolerance(x.size()), gelu_tolerance(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double normed = x[i] * inverse * weight[i];
    expected_norm[i] = static_cast<float>(normed);
    // 9 additions a partial sum and 7 in the tree carry half their relative error through the root; six more roundings.
    norm_tolerance[i] = (16.0 / 2 + 6) * 0x1p-24 * std::abs(normed);
    const double g = x[i];
    const double u = std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g);
    const double gelu = g / (1 + std::exp(-2 * u)) * weight[i];  // g/2 (1 + tanh u), which would cancel
    expected_gelu[i] = static_cast<float>(gelu);
    // exp to two units of an argument known to three, which its size multiplies; five more roundings. Where the true
    // value is below exp's range it is below g * e^-87.
    gelu_tolerance[i] = ((2 * 3 * std::abs(2 * u) + 9) * 0x1p-24) * std::abs(gelu) + 1e-36;
  }
  std::vector<float> first_norm, first_gelu;
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> norm(x.size()), gelu(x.size());
    kernels->rms_norm(x.data(), weight.data(), norm.data(), count, 1e-6f);
    kernels->gelu_mul(x.data(), weight.data(), gelu.data(), count);
    EXPECT_TRUE(test::all_within(norm, expected_norm, norm_tolerance)) << kernels->name;
    EXPECT_TRUE(test::all_within(gelu, expected_gelu, gelu_tolerance)) << kernels->name;
    if (first_norm.empty()) {
      first_norm = norm;
      first_gelu = gelu;
    }
    EXPECT_TRUE(test::same_bits(norm, first_norm)) << kernels->name;
    EXPECT_TRUE(test::same_bits(gelu, first_gelu)) << kernels->name;
  }
}

}  // namespace
}  // namespace carat::cpu
