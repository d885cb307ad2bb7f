// Every bit of the elements is random, so they are uniform over the grid of their type; only the scales are chosen. The
// constants below are the standard deviation of such an element in units of its scale: sqrt((n^2 - 1) / 12) for n
// points.
#include "formats/random_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "base/random.h"
#include "base/result.h"
#include "formats/quant_blocks.h"

namespace carat {
namespace {

// SplitMix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += kGolden64;
    return mix64(state_);
  }
  void fill(std::span<std::byte> out) {
    for (; out.size() >= 8; out = out.subspan(8)) {
      const uint64_t bits = next();
      std::memcpy(out.data(), &bits, 8);
    }
    const uint64_t bits = next();
    std::memcpy(out.data(), &bits, out.size());
  }
  int between(int low, int high) {  // both included
    return low + static_cast<int>(next() % static_cast<uint64_t>(high - low + 1));
  }
  float factor() { return 0.8f + 0.4f * static_cast<float>(next() >> 40) * 0x1p-24f; }  // 0.8 to 1.2

 private:
  uint64_t state_;
};

float uniform_deviation(int points) { return std::sqrt(static_cast<float>(points * points - 1) / 12); }

uint16_t half_scale(float value, Random& random) { return float_to_f16(value * random.factor()); }

// Elements of 16 or 32 bits: uniform over +- sqrt(3) * deviation.
float uniform(float deviation, Random& random) {
  return (static_cast<float>(random.next() >> 40) * 0x1p-23f - 1) * 1.7320508f * deviation;
}

struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

void finish(float& block, float deviation, Random& random) { block = uniform(deviation, random); }
void finish(F16& block, float deviation, Random& random) { block.bits = float_to_f16(uniform(deviation, random)); }
void finish(BF16& block, float deviation, Random& random) { block.bits = float_to_bf16(uniform(deviation, random)); }

void finish(BlockQ4_0& block, float deviation, Random& random) {
  block.d = half_scale(deviation / uniform_deviation(16), random);
}

void finish(BlockQ5_0& block, float deviation, Random& random) {
  block.d = half_scale(deviation / uniform_deviation(32), random);
}

void finish(BlockQ4_1& block, float deviation, Random& random) {
  block.d = half_scale(deviation / uniform_deviation(16), random);
  block.m = float_to_f16(-7.5f * f16_to_float(block.d));
}

void finish(BlockQ5_1& block, float deviation, Random& random) {
  block.d = half_scale(deviation / uniform_deviation(32), random);
  block.m = float_to_f16(-15.5f * f16_to_float(block.d));
}

void finish(BlockQ8_0& block, float deviation, Random& random) {
  block.d = half_scale(deviation / uniform_deviation(255), random);
  for (int8_t& q : block.qs) q = std::max<int8_t>(q, -127);  // as every quantiser writes it
}

// The deviation of the grid of IQ4_NL and IQ4_XS around its mean.
float iq4_deviation() {
  float sum = 0;
  float squares = 0;
  for (const int8_t value : kIq4Values) {
    sum += value;
    squares += static_cast<float>(value) * value;
  }
  return std::sqrt(squares / 16 - sum * sum / 256);
}

void finish(BlockIQ4_NL& block, float deviation, Random& random) {
  block.d = half_scale(deviation / iq4_deviation(), random);
}

// Sub-scales are about 3/4 of the largest. A minimum equal to the scale, with dmin = (points - 1) / 2 * d, centres
// them.

void finish(BlockQ2_K& block, float deviation, Random& random) {
  block.d = half_scale(deviation / uniform_deviation(4) / 12, random);
  block.dmin = float_to_f16(1.5f * f16_to_float(block.d));
  for (uint8_t& scale : block.scales) scale = static_cast<uint8_t>(random.between(9, 15) * 17);
}

template <class Block>
void finish_affine_k(Block& block, int points, float deviation, Random& random) {
  block.d = half_scale(deviation / uniform_deviation(points) / 48, random);
  block.dmin = float_to_f16(static_cast<float>(points - 1) / 2 * f16_to_float(block.d));
  std::fill(std::begin(block.scales), std::end(block.scales), uint8_t{0});
  for (int sub = 0; sub < 8; ++sub) {
    const int scale = random.between(36, 60);
    set_k_scale_min(block.scales, sub, scale, scale);
  }
}

void finish(BlockQ4_K& block, float deviation, Random& random) { finish_affine_k(block, 16, deviation, random); }
void finish(BlockQ5_K& block, float deviation, Random& random) { finish_affine_k(block, 32, deviation, random); }

// Both signs, for kernels see both; so the sub-blocks' means, half a step below 0, cancel.
int signed_between(int low, int high, Random& random) {
  const int value = random.between(low, high);
  return random.next() % 2 == 0 ? value : -value;
}

void finish(BlockQ3_K& block, float deviation, Random& random) {
  block.d = half_scale(deviation / uniform_deviation(8) / 24, random);
  std::fill(std::begin(block.scales), std::end(block.scales), uint8_t{0});
  for (int sub = 0; sub < 16; ++sub) set_q3_scale(block.scales, sub, signed_between(18, 30, random) + 32);
}

void finish(BlockQ6_K& block, float deviation, Random& random) {
  block.d = half_scale(deviation / uniform_deviation(64) / 96, random);
  for (int8_t& scale : block.scales) scale = static_cast<int8_t>(signed_between(72, 120, random));
}

void finish(BlockIQ4_XS& block, float deviation, Random& random) {
  block.d = half_scale(deviation / iq4_deviation() / 24, random);
  block.scales_h = 0;
  std::fill(std::begin(block.scales_l), std::end(block.scales_l), uint8_t{0});
  for (int sub = 0; sub < 8; ++sub) set_iq4_xs_scale(block, sub, signed_between(18, 30, random) + 32);
}

template <class Block>
void fill(float deviation, Random& random, std::span<std::byte> out) {
  CARAT_ASSERT(out.size() % sizeof(Block) == 0);
  for (; !out.empty(); out = out.subspan(sizeof(Block))) {
    Block block;
    random.fill(std::as_writable_bytes(std::span(&block, 1)));
    finish(block, deviation, random);
    std::memcpy(out.data(), &block, sizeof(Block));
  }
}

}  // namespace

void random_blocks(DType type, float deviation, uint64_t seed, std::span<std::byte> out) {
  Random random(seed);
  switch (type) {
    case DType::kF32:
      return fill<float>(deviation, random, out);
    case DType::kF16:
      return fill<F16>(deviation, random, out);
    case DType::kBF16:
      return fill<BF16>(deviation, random, out);
    case DType::kQ4_0:
      return fill<BlockQ4_0>(deviation, random, out);
    case DType::kQ4_1:
      return fill<BlockQ4_1>(deviation, random, out);
    case DType::kQ5_0:
      return fill<BlockQ5_0>(deviation, random, out);
    case DType::kQ5_1:
      return fill<BlockQ5_1>(deviation, random, out);
    case DType::kQ8_0:
      return fill<BlockQ8_0>(deviation, random, out);
    case DType::kQ2_K:
      return fill<BlockQ2_K>(deviation, random, out);
    case DType::kQ3_K:
      return fill<BlockQ3_K>(deviation, random, out);
    case DType::kQ4_K:
      return fill<BlockQ4_K>(deviation, random, out);
    case DType::kQ5_K:
      return fill<BlockQ5_K>(deviation, random, out);
    case DType::kQ6_K:
      return fill<BlockQ6_K>(deviation, random, out);
    case DType::kIQ4_NL:
      return fill<BlockIQ4_NL>(deviation, random, out);
    case DType::kIQ4_XS:
      return fill<BlockIQ4_XS>(deviation, random, out);
  }
}

}  // namespace carat
