#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace carat {
namespace {

Result<int> half_of(int value) {
  if (value % 2 != 0) return Error{ErrorCode::kInvalidArgument, "odd"};
  return value / 2;
}

Result<int> quarter_of(int value) {
  CARAT_TRY(const int half, half_of(value));
  CARAT_TRY(const int quarter, half_of(half));
  return quarter;
}

Status must_be_even(int value, int& reached) {
  CARAT_CHECK(half_of(value));
  ++reached;
  return {};
}

TEST(Result, TryGivesTheValueOrReturnsTheError) {
  EXPECT_EQ(quarter_of(8).value(), 2);
  for (const int odd : {3, 6}) {
    const auto result = quarter_of(odd);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(result.error().message, "odd");
  }
}

TEST(Result, CheckStopsAtTheError) {
  int reached = 0;
  EXPECT_TRUE(must_be_even(4, reached).ok());
  EXPECT_EQ(reached, 1);
  EXPECT_FALSE(must_be_even(5, reached).ok());
  EXPECT_EQ(reached, 1);
}

TEST(Result, HoldsWhatCanOnlyBeMoved) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  const std::unique_ptr<int> taken = std::move(*result);
  EXPECT_EQ(*taken, 7);
}

TEST(ResultDeathTest, AssertNamesTheCondition) {
  EXPECT_DEATH(CARAT_ASSERT(1 + 1 == 3), "assertion failed: 1 \\+ 1 == 3");
}

}  // namespace
}  // namespace carat
