// Comparing float results so that a wrong one cannot pass: every check is !(error <= tolerance), so NaN fails, and
// tolerances are absolute numbers per element or per row that the caller derives, never a ratio of the two values.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <vector>

namespace carat::test {

// |actual[i] - expected[i]| <= tolerance[i] for every i; equal sizes; nothing may be NaN or infinite. The message names
// the worst element. Tolerances must be finite and not negative.
testing::AssertionResult all_within(std::span<const float> actual, std::span<const float> expected,
                                    std::span<const double> tolerance);

// The tolerance of every element is `relative` times the root mean square of its row of `row` expected values: the size
// that errors of sums and norms scale with. A row of zeros must be met exactly.
testing::AssertionResult rows_within(std::span<const float> actual, std::span<const float> expected, size_t row,
                                     double relative);

// The same bits, NaN and the sign of zero included.
testing::AssertionResult same_bits(std::span<const float> actual, std::span<const float> expected);

// The error bound of one dot product summed in any order in a type of unit roundoff `epsilon` (2^-24 for float32):
// `constant * epsilon * sum |a[i] b[i]|`. A straightforward sum of n terms has constant n; blocked sums have less.
double dot_tolerance(std::span<const float> a, std::span<const float> b, double epsilon, double constant);

}  // namespace carat::test
