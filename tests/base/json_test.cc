#include "base/json.h"

#include <gtest/gtest.h>

#include <new>
#include <vector>

namespace carat {
namespace {

// More than any machine has, so that only the reserve could help.
constexpr size_t kFarTooMuch = size_t{1} << 62;

TEST(Json, WhatCannotBeHadIsAnExceptionWhereAValueIsMade) {
  EXPECT_THROW(allocate_json(kFarTooMuch), std::bad_alloc);
  EXPECT_THROW(std::allocator<nlohmann::json>().allocate(kFarTooMuch / sizeof(nlohmann::json)), std::bad_alloc);
}

TEST(Json, BothKindsUseTheAllocator) {
  static_assert(std::is_base_of_v<JsonAllocator<nlohmann::json>, nlohmann::json::array_t::allocator_type>);
  static_assert(std::is_base_of_v<JsonAllocator<nlohmann::ordered_json>, std::allocator<nlohmann::ordered_json>>);
  nlohmann::json tree = {{"a", {1, 2, {{"b", {3, 4}}}}}, {"c", nullptr}};
  const nlohmann::json copy = tree;
  tree["a"].push_back(copy);
  EXPECT_EQ(tree["a"][3], copy);
}

}  // namespace
}  // namespace carat
