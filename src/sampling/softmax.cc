// The sum runs in eight lanes that are joined by one fixed tree: fast wherever the compiler vectorises it, equal
// everywhere.
#include "sampling/softmax.h"

namespace carat {
namespace {

constexpr size_t kLanes = 8;

float largest(std::span<const float> logits) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, logits[0]);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] = lanes[j] < logits[i + j] ? logits[i + j] : lanes[j];
  }
  for (; i < logits.size(); ++i) lanes[0] = std::max(lanes[0], logits[i]);
  return *std::max_element(lanes, lanes + kLanes);
}

}  // namespace

double log_positive(double x) {
  constexpr double kLn2High = 0x1.62e42fee00000p-1, kLn2Low = 0x1.a39ef35793c76p-33;
  constexpr double kHalfSqrt2 = 0x1.6a09e667f3bcdp-1;
  const auto bits = std::bit_cast<uint64_t>(x);
  int64_t exponent = static_cast<int64_t>(bits >> 52) - 1022;
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFu) | 0x3FE0000000000000u);  // in [0.5, 1)
  if (m < kHalfSqrt2) {
    m *= 2;
    --exponent;
  }
  // ln m = 2 atanh(s), |s| <= 0.172: the series to s^23 leaves less than 1e-19.
  const double s = (m - 1) / (m + 1);
  const double s2 = s * s;
  double series = 1.0 / 23;
  for (int n = 21; n >= 1; n -= 2) series = series * s2 + 1.0 / n;
  const auto k = static_cast<double>(exponent);
  return k * kLn2High + (2 * s * series + k * kLn2Low);
}

double log_sum_exp(std::span<const float> logits) {
  const double peak = largest(logits);
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += exp_nonpositive(static_cast<double>(logits[i + j]) - peak);
  }
  for (; i < logits.size(); ++i) lanes[0] += exp_nonpositive(static_cast<double>(logits[i]) - peak);
  for (size_t width = kLanes / 2; width > 0; width /= 2) {
    for (size_t j = 0; j < width; ++j) lanes[j] += lanes[j + width];
  }
  return peak + log_positive(lanes[0]);
}

}  // namespace carat
