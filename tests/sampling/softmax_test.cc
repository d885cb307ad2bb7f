#include "sampling/softmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace carat {
namespace {

TEST(Softmax, ExpAgreesWithTheLibraryToAFewUlps) {
  for (double x = 0; x > -700; x -= 0.0137) {
    const double exact = std::exp(x);
    ASSERT_LE(std::abs(exp_nonpositive(x) - exact), 4e-16 * exact) << x;
  }
  EXPECT_EQ(exp_nonpositive(0), 1.0);
}

TEST(Softmax, ExpOfWhatUnderflowsIsNextToNothing) {
  EXPECT_LT(exp_nonpositive(-1e9), 1e-300);
  EXPECT_LT(exp_nonpositive(-std::numeric_limits<double>::infinity()), 1e-300);
}

TEST(Softmax, LogAgreesWithTheLibraryToAFewUlps) {
  for (double x = 1e-30; x < 1e30; x *= 1.0173) {
    const double exact = std::log(x);
    ASSERT_LE(std::abs(log_positive(x) - exact), 4e-16 * std::abs(exact) + 1e-16) << x;
  }
  EXPECT_EQ(log_positive(1), 0.0);
}

TEST(Softmax, LogSumExpOfEqualLogitsIsLogOfTheirNumber) {
  for (size_t n : {1, 2, 7, 8, 9, 1000, 262144}) {
    const std::vector<float> logits(n, 3.5f);
    EXPECT_NEAR(log_sum_exp(logits), 3.5 + std::log(static_cast<double>(n)), 1e-12) << n;
  }
}

TEST(Softmax, LogSumExpIgnoresWhatIsBarred) {
  const std::vector<float> logits{-std::numeric_limits<float>::infinity(), 2, 2};
  EXPECT_NEAR(log_sum_exp(logits), 2 + std::log(2.0), 1e-14);
}

}  // namespace
}  // namespace carat
