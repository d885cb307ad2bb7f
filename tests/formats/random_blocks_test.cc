#include "formats/random_blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "formats/dequant.h"

namespace carat {
namespace {

struct Moments {
  double mean, deviation, largest;
};

Moments moments(DType type, float deviation) {
  constexpr int64_t kElements = 1 << 16;
  std::vector<std::byte> blocks(dtype_bytes(type, kElements).value());
  random_blocks(type, deviation, 5, blocks);
  std::vector<float> x(kElements);
  dequantize(type, blocks.data(), x.data(), kElements);
  double sum = 0, squares = 0, largest = 0;
  for (const float value : x) {
    sum += value;
    squares += static_cast<double>(value) * value;
    largest = std::max(largest, std::abs(static_cast<double>(value)));
  }
  return {sum / kElements, std::sqrt(squares / kElements), largest};
}

TEST(RandomBlocks, HaveTheSizeThatWasAskedFor) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto type = static_cast<DType>(i);
    const Moments m = moments(type, 0.03f);
    EXPECT_LT(std::abs(m.mean), 0.03 * 0.15) << dtype_info(type).name;
    EXPECT_NEAR(m.deviation, 0.03, 0.03 * 0.15) << dtype_info(type).name;
    EXPECT_LT(m.largest, 0.03 * 4) << dtype_info(type).name;  // uniform: sqrt(3), then the factors of both scales
  }
}

TEST(RandomBlocks, TheSeedDecidesTheBytes) {
  const auto make = [](uint64_t seed) {
    std::vector<std::byte> blocks(144 * 4);
    random_blocks(DType::kQ4_K, 1, seed, blocks);
    return blocks;
  };
  EXPECT_EQ(make(1), make(1));
  EXPECT_NE(make(1), make(2));
}

}  // namespace
}  // namespace carat
