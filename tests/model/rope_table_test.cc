// Angles against the C library in long double.
#include "model/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>

namespace carat {
namespace {

TEST(RopeTable, FrequenciesAreThePowersOfTheBase) {
  for (double base : {1e4, 1e6}) {
    const std::vector<double> frequencies = rope_frequencies(base, 8, 256);
    ASSERT_EQ(frequencies.size(), 128u);
    for (size_t j = 0; j < 128; ++j) {
      const double exact = std::pow(base, -2.0 * static_cast<double>(j) / 256) / 8;
      EXPECT_TRUE(std::abs(frequencies[j] - exact) <= 1e-13 * exact) << base << " " << j;
    }
  }
}

TEST(RopeTable, SinesAndCosinesAreExactToTheLastBitOrNext) {
  const std::vector<double> frequencies = rope_frequencies(1e4, 1, 256);
  std::vector<float> cosine(128), sine(128);
  for (int32_t position : {0, 1, 2, 511, 512, 1023, 4095, 32767, 131071}) {
    rope_row(frequencies, position, cosine.data(), sine.data());
    for (size_t j = 0; j < 128; ++j) {
      const long double angle = static_cast<long double>(position) * static_cast<long double>(frequencies[j]);
      // Half a unit of float32 near one, and the double's error of an angle up to 131071.
      EXPECT_TRUE(std::abs(cosine[j] - std::cos(angle)) <= 0x1p-25L + 1e-10L) << position << " " << j;
      EXPECT_TRUE(std::abs(sine[j] - std::sin(angle)) <= 0x1p-25L + 1e-10L) << position << " " << j;
    }
  }
}

}  // namespace
}  // namespace carat
