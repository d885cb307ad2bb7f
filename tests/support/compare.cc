#include "support/compare.h"

#include <bit>
#include <cmath>
#include <cstdint>

namespace carat::test {
namespace {

testing::AssertionResult wrong_size(size_t actual, size_t expected) {
  return testing::AssertionFailure() << actual << " values, expected " << expected;
}

}  // namespace

testing::AssertionResult all_within(std::span<const float> actual, std::span<const float> expected,
                                    std::span<const double> tolerance) {
  if (actual.size() != expected.size()) return wrong_size(actual.size(), expected.size());
  if (tolerance.size() != expected.size()) return wrong_size(tolerance.size(), expected.size()) << " tolerances";
  size_t failures = 0, worst = 0;
  double worst_excess = -1;
  for (size_t i = 0; i < actual.size(); ++i) {
    if (!(tolerance[i] >= 0) || std::isinf(tolerance[i])) {
      return testing::AssertionFailure() << "the tolerance of [" << i << "] is " << tolerance[i];
    }
    const double error = std::abs(double{actual[i]} - double{expected[i]});
    if (error <= tolerance[i] && std::isfinite(actual[i]) && std::isfinite(expected[i])) continue;
    const double excess = std::isnan(error) ? HUGE_VAL : error - tolerance[i];
    if (failures++ == 0 || excess > worst_excess) {
      worst = i;
      worst_excess = excess;
    }
  }
  if (failures == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << failures << " of " << actual.size() << " values differ, the worst at [" << worst
                                     << "]: " << actual[worst] << ", expected " << expected[worst] << " within "
                                     << tolerance[worst];
}

testing::AssertionResult rows_within(std::span<const float> actual, std::span<const float> expected, size_t row,
                                     double relative) {
  if (row == 0 || expected.size() % row != 0) {
    return testing::AssertionFailure() << expected.size() << " values are not whole rows of " << row;
  }
  std::vector<double> tolerance(expected.size());
  for (size_t begin = 0; begin < expected.size(); begin += row) {
    double squares = 0;
    for (const float value : expected.subspan(begin, row)) squares += double{value} * double{value};
    const double scale = std::sqrt(squares / static_cast<double>(row));
    if (!std::isfinite(scale))
      return testing::AssertionFailure() << "row " << begin / row << " expects NaN or infinity";
    for (size_t i = begin; i < begin + row; ++i) tolerance[i] = relative * scale;
  }
  return all_within(actual, expected, tolerance);
}

testing::AssertionResult same_bits(std::span<const float> actual, std::span<const float> expected) {
  if (actual.size() != expected.size()) return wrong_size(actual.size(), expected.size());
  size_t failures = 0, first = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::bit_cast<uint32_t>(actual[i]) == std::bit_cast<uint32_t>(expected[i])) continue;
    if (failures++ == 0) first = i;
  }
  if (failures == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << failures << " of " << actual.size() << " values differ in bits, the first at ["
                                     << first << "]: " << actual[first] << ", expected " << expected[first];
}

double dot_tolerance(std::span<const float> a, std::span<const float> b, double epsilon, double constant) {
  double magnitude = 0;
  for (size_t i = 0; i < a.size(); ++i) magnitude += std::abs(double{a[i]} * double{b[i]});
  return constant * epsilon * magnitude;
}

}  // namespace carat::test
