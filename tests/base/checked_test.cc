#include "base/checked.h"

#include <gtest/gtest.h>

#include <limits>

namespace carat {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

TEST(Checked, AddsAndMultipliesUpToTheLimit) {
  EXPECT_EQ(checked_add<uint64_t>(kMax - 1, 1), kMax);
  EXPECT_EQ(checked_add<uint64_t>(kMax, 1), std::nullopt);
  EXPECT_EQ(checked_mul<uint64_t>(uint64_t{1} << 32, (uint64_t{1} << 32) - 1), kMax - (uint64_t{1} << 32) + 1);
  EXPECT_EQ(checked_mul<uint64_t>(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(checked_mul<int32_t>(-1, std::numeric_limits<int32_t>::min()), std::nullopt);
}

TEST(Checked, RangeThatWrapsAroundIsOutside) {
  EXPECT_TRUE(in_range(0, 8, 8));
  EXPECT_TRUE(in_range(8, 0, 8));
  EXPECT_FALSE(in_range(1, 8, 8));
  EXPECT_FALSE(in_range(9, 0, 8));
  EXPECT_FALSE(in_range(4, kMax - 2, 8));  // 4 + size wraps to 1
  EXPECT_FALSE(in_range(kMax, 2, 8));
}

TEST(Checked, RoundsUp) {
  EXPECT_EQ(div_ceil(0, 4), 0);
  EXPECT_EQ(div_ceil(1, 4), 1);
  EXPECT_EQ(div_ceil(8, 4), 2);
  EXPECT_EQ(round_up<uint64_t>(33, 32), 64u);
}

}  // namespace
}  // namespace carat
