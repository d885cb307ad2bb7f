// Quantised and read back. The bounds follow from the formats: half a step of the grid, what lies beyond its end, and
// the rounding of the scales; where the quantiser searches, its squared error is at most that of the plain choice, so
// the bound is one of root mean square per sub-block. u = 2^-11 is the relative rounding of a half.
#include "formats/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/half.h"
#include "formats/dequant.h"
#include "formats/quant_blocks.h"

namespace carat {
namespace {

constexpr float kHalfRounding = 0x1p-11f;

struct Sample {
  const char* name;
  std::vector<float> x;
};

std::vector<Sample> samples() {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 0.04f);
  std::uniform_real_distribution<float> positive(0.5f, 3.0f);
  std::vector<Sample> all{
      {"normal", {}}, {"positive", {}}, {"zeros", std::vector<float>(256)}, {"spikes", {}}, {"one value", {}}};
  for (int i = 0; i < 4096; ++i) {
    all[0].x.push_back(normal(random));
    all[1].x.push_back(positive(random));
    all[3].x.push_back(i % 61 == 0 ? normal(random) * 100 : normal(random) * 0.01f);
    all[4].x.push_back(-0.75f);
  }
  return all;
}

struct RoundTrip {
  std::vector<std::byte> blocks;
  std::vector<float> y;
};

RoundTrip round_trip(DType type, const std::vector<float>& x) {
  RoundTrip result;
  result.blocks.resize(dtype_bytes(type, x.size()).value());
  result.y.resize(x.size());
  quantize(type, x.data(), result.blocks.data(), static_cast<int64_t>(x.size()));
  dequantize(type, result.blocks.data(), result.y.data(), static_cast<int64_t>(x.size()));
  return result;
}

struct Range {
  float low, high, peak;  // smallest, largest, largest magnitude
};

Range range_of(const float* x, int n) {
  const auto [low, high] = std::minmax_element(x, x + n);
  return {*low, *high, std::max(std::abs(*low), std::abs(*high))};
}

// The largest error in each block of `n` against bound(range of the block).
template <class Bound>
void expect_largest(DType type, int n, Bound bound) {
  for (const Sample& sample : samples()) {
    const RoundTrip trip = round_trip(type, sample.x);
    for (size_t at = 0; at < sample.x.size(); at += static_cast<size_t>(n)) {
      const float limit = bound(range_of(sample.x.data() + at, n));
      for (size_t i = at; i < at + static_cast<size_t>(n); ++i) {
        ASSERT_TRUE(std::abs(trip.y[i] - sample.x[i]) <= limit) << dtype_info(type).name << " " << sample.name << " ["
                                                                << i << "]: " << sample.x[i] << " became " << trip.y[i];
      }
    }
  }
}

TEST(Quantize, HalvesRoundToNearest) {
  expect_largest(DType::kF32, 1, [](Range) { return 0.0f; });
  expect_largest(DType::kF16, 1, [](Range r) { return r.peak * kHalfRounding + 0x1p-25f; });
  expect_largest(DType::kBF16, 1, [](Range r) { return r.peak * 0x1p-8f; });
}

// The grid reaches from the extreme element to one step short of its mirror image.
TEST(Quantize, SymmetricBlocks) {
  expect_largest(DType::kQ4_0, 32, [](Range r) { return r.peak / 8 + 2 * r.peak * kHalfRounding; });
  expect_largest(DType::kQ5_0, 32, [](Range r) { return r.peak / 16 + 2 * r.peak * kHalfRounding; });
  expect_largest(DType::kQ8_0, 32, [](Range r) { return r.peak / 254 + 2 * r.peak * kHalfRounding; });
}

TEST(Quantize, BlocksWithAMinimum) {
  const auto bound = [](int steps) {
    return [steps](Range r) { return (r.high - r.low) / (2 * static_cast<float>(steps)) + 4 * r.peak * kHalfRounding; };
  };
  expect_largest(DType::kQ4_1, 32, bound(15));
  expect_largest(DType::kQ5_1, 32, bound(31));
}

// The widest gap of the grid is 23 of 127; from its end, 113, to the mirror image of the extreme it is 14.
TEST(Quantize, NonLinearBlocks) {
  expect_largest(DType::kIQ4_NL, 32, [](Range r) { return r.peak * 14 / 127 + 2 * r.peak * kHalfRounding; });
}

float half_at(const std::byte* at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  return std::abs(f16_to_float(bits));
}

// The root mean square error of each sub-block of `n` against bound(range of the sub-block, block).
template <class Bound>
void expect_mean(DType type, int n, Bound bound) {
  const auto block_bytes = static_cast<size_t>(dtype_info(type).block_bytes);
  for (const Sample& sample : samples()) {
    const RoundTrip trip = round_trip(type, sample.x);
    for (size_t at = 0; at < sample.x.size(); at += static_cast<size_t>(n)) {
      double sum = 0;
      for (size_t i = at; i < at + static_cast<size_t>(n); ++i) {
        sum += std::pow(static_cast<double>(trip.y[i]) - sample.x[i], 2);
      }
      const Range range = range_of(sample.x.data() + at, n);
      const float limit = bound(range, trip.blocks.data() + at / 256 * block_bytes) + 1e-5f * range.peak;
      ASSERT_TRUE(std::sqrt(sum / n) <= limit) << dtype_info(type).name << " " << sample.name << " at " << at;
    }
  }
}

// Affine sub-blocks: half a step of a grid over the range (which includes 0), then the scale moves by at most d / 2,
// which the largest q multiplies, and the minimum by dmin / 2.
TEST(Quantize, AffineKBlocks) {
  const auto bound = [](float top, size_t d, size_t dmin) {
    return [=](Range r, const std::byte* block) {
      const float step = (std::max(0.0f, r.high) - std::min(0.0f, r.low)) / top;
      return step / 2 + top * half_at(block + d) / 2 + half_at(block + dmin) / 2 + 2 * r.peak * kHalfRounding;
    };
  };
  expect_mean(DType::kQ2_K, 16, bound(3, offsetof(BlockQ2_K, d), offsetof(BlockQ2_K, dmin)));
  expect_mean(DType::kQ4_K, 32, bound(15, offsetof(BlockQ4_K, d), offsetof(BlockQ4_K, dmin)));
  expect_mean(DType::kQ5_K, 32, bound(31, offsetof(BlockQ5_K, d), offsetof(BlockQ5_K, dmin)));
}

// Symmetric sub-blocks: a step at most (the end of the grid), then the scale moves by at most d (at the end of its
// own).
TEST(Quantize, SymmetricKBlocks) {
  const auto bound = [](float half, size_t d) {
    return [=](Range r, const std::byte* block) {
      return r.peak / half + half * half_at(block + d) + 2 * r.peak * kHalfRounding;
    };
  };
  expect_mean(DType::kQ3_K, 16, bound(4, offsetof(BlockQ3_K, d)));
  expect_mean(DType::kQ6_K, 16, bound(32, offsetof(BlockQ6_K, d)));
  expect_mean(DType::kIQ4_XS, 32, [](Range r, const std::byte* block) {
    return r.peak * 14 / 127 + 127 * half_at(block + offsetof(BlockIQ4_XS, d)) + 2 * r.peak * kHalfRounding;
  });
}

// On Gaussian weights more bits are better, and each type is about as good as its bits: the error of a uniform
// quantiser falls by 2 for each bit (6.02 dB). So a broken sub-scale or a lost high bit shows at once.
TEST(Quantize, MoreBitsAreBetter) {
  const auto error = [](DType type) {
    const std::vector<float> x = samples()[0].x;
    const RoundTrip trip = round_trip(type, x);
    double off = 0;
    double all = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      off += std::pow(static_cast<double>(trip.y[i]) - x[i], 2);
      all += std::pow(static_cast<double>(x[i]), 2);
    }
    return std::sqrt(off / all);
  };
  const double q2 = error(DType::kQ2_K), q3 = error(DType::kQ3_K), q4 = error(DType::kQ4_K), q5 = error(DType::kQ5_K),
               q6 = error(DType::kQ6_K), q8 = error(DType::kQ8_0);
  for (const auto& [fewer, more] : {std::pair{q2, q3}, {q3, q4}, {q4, q5}, {q5, q6}}) {
    EXPECT_GT(fewer / more, 1.4);
    EXPECT_LT(fewer / more, 2.8);
  }
  EXPECT_LT(q8, q6 / 2.8);
  EXPECT_LT(q4, error(DType::kQ4_0));
  EXPECT_LT(error(DType::kIQ4_NL), error(DType::kQ4_0));
}

}  // namespace
}  // namespace carat
