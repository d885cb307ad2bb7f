#include "sampling/top_k.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/random.h"

namespace carat {
namespace {

std::vector<Candidate> by_sorting(const std::vector<float>& logits, size_t k) {
  std::vector<Candidate> all;
  for (size_t i = 0; i < logits.size(); ++i) all.push_back({static_cast<int32_t>(i), logits[i]});
  std::sort(all.begin(), all.end(), ranks_before);
  all.resize(std::min(k, all.size()));
  return all;
}

void expect_equal(const std::vector<Candidate>& got, const std::vector<Candidate>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].id, expected[i].id) << i;
    ASSERT_EQ(got[i].logit, expected[i].logit) << i;
  }
}

TEST(TopK, EqualsSortingOnRandomLogitsWithManyTies) {
  for (size_t size : {1, 31, 32, 33, 1000, 5003}) {
    for (double levels : {3.0, 50.0, 1e9}) {  // few levels: many ties
      std::vector<float> logits(size);
      for (size_t i = 0; i < size; ++i)
        logits[i] = static_cast<float>(std::floor(uniform_draw(7, i) * levels) - levels / 2);
      for (size_t k : {1, 2, 20, 64, 700, 9999}) {
        std::vector<Candidate> got;
        select_top(logits, k, got);
        expect_equal(got, by_sorting(logits, k));
      }
      EXPECT_EQ(argmax(logits), by_sorting(logits, 1)[0].id);
    }
  }
}

TEST(TopK, AscendingLogitsAreTheWorstCaseAndRight) {
  std::vector<float> logits(100000);
  std::iota(logits.begin(), logits.end(), 0.0f);
  std::vector<Candidate> got;
  select_top(logits, 64, got);
  expect_equal(got, by_sorting(logits, 64));
}

TEST(TopK, NeverChoosesNanOrMinusInfinity) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  std::vector<Candidate> got;
  select_top(std::vector<float>{nan, -inf, -3, nan, -2}, 5, got);
  expect_equal(got, {{4, -2}, {2, -3}});
  EXPECT_EQ(argmax(std::vector<float>{nan, -inf, -3, nan, -2}), 4);
  EXPECT_EQ(argmax(std::vector<float>{nan, -inf}), -1);
  select_top(std::vector<float>{nan, -inf}, 5, got);
  EXPECT_TRUE(got.empty());
}

}  // namespace
}  // namespace carat
