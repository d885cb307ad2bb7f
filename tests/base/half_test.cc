#include "base/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace carat {
namespace {

bool is_nan(uint16_t half) { return (half & 0x7fff) > 0x7c00; }

// IEEE 754 binary16, from its definition: (-1)^sign * 2^(exponent - 15) * (1 + mantissa / 1024).
double f16_by_definition(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const double mantissa = half & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(Half, EveryF16HasItsValueAndComesBack) {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const auto half = static_cast<uint16_t>(i);
    const float value = f16_to_float(half);
    if (is_nan(half)) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_TRUE(is_nan(float_to_f16(value)));
      continue;
    }
    if ((half & 0x7fff) == 0x7c00) {
      EXPECT_TRUE(std::isinf(value));
    } else {
      ASSERT_EQ(value, f16_by_definition(half)) << i;
    }
    EXPECT_EQ(std::signbit(value), (half & 0x8000) != 0) << i;
    ASSERT_EQ(float_to_f16(value), half) << i;
  }
}

// Between two neighbours: below the middle goes down, above goes up, the middle goes to the even one.
TEST(Half, F16RoundsToNearestEven) {
  for (uint32_t i = 0; i < 0x7bff; ++i) {
    const auto low = static_cast<uint16_t>(i);
    const auto high = static_cast<uint16_t>(i + 1);
    const float middle = (f16_to_float(low) + f16_to_float(high)) / 2;  // exact: both have 11 bits
    const uint16_t even = i % 2 == 0 ? low : high;
    ASSERT_EQ(float_to_f16(middle), even) << i;
    ASSERT_EQ(float_to_f16(std::nextafter(middle, 0.0f)), low) << i;
    ASSERT_EQ(float_to_f16(std::nextafter(middle, 1e30f)), high) << i;
    ASSERT_EQ(float_to_f16(-middle), even | 0x8000) << i;
  }
  EXPECT_EQ(float_to_f16(65519.996f), 0x7bff);  // below the middle of 65504 and 65536
  EXPECT_EQ(float_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_f16(std::numeric_limits<float>::max()), 0x7c00);
}

TEST(Half, EveryBf16ComesBack) {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float value = bf16_to_float(bits);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(value))));
    } else {
      ASSERT_EQ(float_to_bf16(value), bits) << i;
    }
  }
}

TEST(Half, Bf16RoundsToNearestEven) {
  EXPECT_EQ(float_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // a tie, 0x3f80 is even
  EXPECT_EQ(float_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);  // a tie, 0x3f81 is odd
  EXPECT_EQ(float_to_bf16(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(float_to_bf16(std::bit_cast<float>(0x3f817fffu)), 0x3f81);
  EXPECT_EQ(float_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  // A NaN whose upper half alone would read as infinity.
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

}  // namespace
}  // namespace carat
