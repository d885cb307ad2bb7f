// Sums run in eight lanes that are joined by one fixed tree, piece by piece: fast wherever the compiler vectorises them, wide
// enough for a device, equal everywhere.
#include "sampling/softmax.h"

#include <algorithm>
#include <limits>

namespace carat {
namespace {

constexpr size_t kLanes = kPieceLanes;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

template <class Weigh>
double sum_in_lanes(std::span<const float> piece, const Weigh& weigh) {
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= piece.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += weigh(piece[i + j]);
  }
  for (size_t j = 0; i < piece.size(); ++i, ++j) lanes[j] += weigh(piece[i]);
  for (size_t width = kLanes / 2; width > 0; width /= 2) {
    for (size_t j = 0; j < width; ++j) lanes[j] += lanes[j + width];
  }
  return lanes[0];
}

}  // namespace

float largest_logit(std::span<const float> logits) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, kMinusInfinity);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] = lanes[j] < logits[i + j] ? logits[i + j] : lanes[j];
  }
  for (; i < logits.size(); ++i) lanes[0] = lanes[0] < logits[i] ? logits[i] : lanes[0];
  return *std::max_element(lanes, lanes + kLanes);
}

double sum_of_piece(std::span<const float> piece, double peak, double temperature) {
  if (temperature == 1) {
    return sum_in_lanes(piece, [peak](float logit) {
      const double weight = exp_nonpositive(static_cast<double>(logit) - peak);
      return logit > kMinusInfinity ? weight : 0;
    });
  }
  return sum_in_lanes(piece, [peak, temperature](float logit) {
    const double weight = exp_nonpositive((static_cast<double>(logit) - peak) / temperature);
    return logit > kMinusInfinity ? weight : 0;
  });
}

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

double log_of_sums(double peak, std::span<const double> sums_of_pieces) {
  double total = 0;
  for (const double sum : sums_of_pieces) total += sum;
  return peak + log_positive(total);
}

double log_sum_exp(std::span<const float> logits) {
  const double peak = largest_logit(logits);
  double total = 0;
  for (size_t number = 0; number * kPieceLogits < logits.size(); ++number) {
    total += sum_of_piece(piece_of(logits, number), peak, 1);
  }
  return log_of_sums(peak, {&total, 1});
}

}  // namespace carat
