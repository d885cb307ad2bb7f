// The comparator must reject what comparators of other projects let pass.
#include "support/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace carat::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

const std::vector<float> kExpected{1, -2, 0.5f, 3, 4, -1, 2, -8};
constexpr size_t kRow = 4;

// Whether both comparators reject `actual` at tolerances that accept rounding only.
bool rejected(const std::vector<float>& actual, const std::vector<float>& expected) {
  const std::vector<double> tolerance(expected.size(), 1e-6);
  return !all_within(actual, expected, tolerance) && !rows_within(actual, expected, kRow, 1e-6) &&
         !same_bits(actual, expected);
}

std::vector<float> with(size_t index, float value) {
  std::vector<float> changed = kExpected;
  changed[index] = value;
  return changed;
}

TEST(Compare, AcceptsEqualAndRoundedValues) {
  EXPECT_TRUE(same_bits(kExpected, kExpected));
  EXPECT_TRUE(rows_within(kExpected, kExpected, kRow, 0));
  EXPECT_TRUE(rows_within(with(3, 3.0000002f), kExpected, kRow, 1e-6));
  EXPECT_FALSE(same_bits(with(3, 3.0000002f), kExpected));
}

TEST(Compare, RejectsNanOnEitherSide) {
  for (size_t i = 0; i < kExpected.size(); ++i) {
    EXPECT_TRUE(rejected(with(i, kNan), kExpected));
    EXPECT_TRUE(rejected(kExpected, with(i, kNan)));
  }
  const std::vector<double> tolerance(kExpected.size(), 1e-6);
  EXPECT_FALSE(all_within(with(0, kNan), with(0, kNan), tolerance));
  EXPECT_FALSE(rows_within(with(0, kNan), with(0, kNan), kRow, 1e-6));
}

TEST(Compare, RejectsInfinity) {
  EXPECT_TRUE(rejected(with(1, kInfinity), kExpected));
  EXPECT_TRUE(rejected(kExpected, with(1, kInfinity)));
  EXPECT_FALSE(rows_within(with(1, kInfinity), with(1, kInfinity), kRow, 1e-6));
}

TEST(Compare, RejectsSignFlips) {
  for (size_t i = 0; i < kExpected.size(); ++i) EXPECT_TRUE(rejected(with(i, -kExpected[i]), kExpected));
}

TEST(Compare, RejectsTwoDifferentNegatives) {
  EXPECT_TRUE(rejected(with(1, -3), kExpected));
  EXPECT_TRUE(rejected(with(7, -1), kExpected));
}

TEST(Compare, RejectsNonzeroWhereZeroIsExpected) {
  EXPECT_TRUE(rejected(with(2, 0.5f), with(2, 0)));
  const std::vector<float> zeros(8, 0.0f);
  std::vector<float> tiny = zeros;
  tiny[5] = 1e-30f;
  EXPECT_FALSE(rows_within(tiny, zeros, kRow, 1e-3));
  EXPECT_TRUE(rows_within(zeros, zeros, kRow, 1e-3));
}

TEST(Compare, RejectsZeroWhereAValueIsExpected) { EXPECT_TRUE(rejected(std::vector<float>(8, 0.0f), kExpected)); }

TEST(Compare, RejectsSwappedRows) {
  std::vector<float> swapped = kExpected;
  std::rotate(swapped.begin(), swapped.begin() + kRow, swapped.end());
  EXPECT_TRUE(rejected(swapped, kExpected));
}

TEST(Compare, RejectsOneWrongValueAmongMany) {
  std::vector<float> expected(100000, 1.0f), actual = expected;
  actual[77777] = 1.01f;
  EXPECT_FALSE(rows_within(actual, expected, 1000, 1e-3));
}

TEST(Compare, ALargeRowDoesNotExcuseASmallOne) {
  std::vector<float> expected{1e6f, 1e6f, 1e6f, 1e6f, 1, 1, 1, 1}, actual = expected;
  actual[5] = 1.5f;
  EXPECT_FALSE(rows_within(actual, expected, kRow, 1e-3));
}

TEST(Compare, RejectsOtherSizesAndBadTolerances) {
  const std::vector<float> shorter(kExpected.begin(), kExpected.end() - 1);
  EXPECT_TRUE(rejected(shorter, kExpected));
  for (const double bad : {-1.0, std::nan(""), HUGE_VAL}) {
    EXPECT_FALSE(all_within(kExpected, kExpected, std::vector<double>(kExpected.size(), bad)));
  }
  EXPECT_FALSE(all_within(kExpected, kExpected, std::vector<double>(3, 1.0)));
  EXPECT_FALSE(rows_within(kExpected, kExpected, 3, 1.0));
  EXPECT_FALSE(rows_within(kExpected, kExpected, 0, 1.0));
}

TEST(Compare, DistinguishesTheZeros) { EXPECT_FALSE(same_bits(std::vector{-0.0f}, std::vector{0.0f})); }

TEST(Compare, DotToleranceIsAboutTheMagnitudesNotTheSum) {
  const std::vector<float> a{1, -1}, b{1000, 1000};
  EXPECT_DOUBLE_EQ(dot_tolerance(a, b, 0.5, 2), 2000);
}

}  // namespace
}  // namespace carat::test
