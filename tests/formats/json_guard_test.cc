#include "formats/json_guard.h"

#include <gtest/gtest.h>

#include <string>

namespace carat {
namespace {

TEST(JsonGuard, DepthIsLimited) {
  EXPECT_EQ(check_json_limits(std::string(16, '[') + std::string(16, ']')), "");
  EXPECT_EQ(check_json_limits(std::string(17, '[')), "is nested too deeply");
  EXPECT_EQ(check_json_limits(std::string(100000, '{')), "is nested too deeply");
  std::string alternating;
  for (int i = 0; i < 1000; ++i) alternating += "[{}],";
  EXPECT_EQ(check_json_limits(alternating), "");
}

TEST(JsonGuard, BracketsInStringsDoNotCount) {
  EXPECT_EQ(check_json_limits("\"" + std::string(100, '[') + "\""), "");
  EXPECT_EQ(check_json_limits("\"\\\"" + std::string(100, '[') + "\""), "");
  EXPECT_EQ(check_json_limits("\"\\\\\"" + std::string(100, '[')), "is nested too deeply");
}

TEST(JsonGuard, TokensAreLimited) {
  const JsonLimits limits{.depth = 4, .token_bytes = 10, .number_bytes = 10};
  EXPECT_EQ(check_json_limits("\"123456789\" 1234567890", limits), "");
  EXPECT_NE(check_json_limits("\"12345678901234\"", limits), "");
  EXPECT_NE(check_json_limits("123456789012", limits), "");
  EXPECT_NE(check_json_limits(std::string(12, ' '), limits), "");
  EXPECT_NE(check_json_limits("\"unterminated string", limits), "");
}

TEST(JsonGuard, NumbersAreShorterThanStrings) {
  EXPECT_EQ(check_json_limits("[" + std::string(1024, '1') + "]"), "");
  EXPECT_EQ(check_json_limits("[" + std::string(1025, '1') + "]"), "holds a number that is too long");
  EXPECT_EQ(check_json_limits("[-" + std::string(64 << 20, '1')), "holds a number that is too long");
  EXPECT_EQ(check_json_limits("[\"" + std::string(1025, '1') + "\"]"), "");
}

TEST(JsonGuard, KeysAreCountedForEachObject) {
  const JsonLimits limits{.keys = 3};
  EXPECT_EQ(check_json_limits(R"({"a":1,"b":{"a":1,"b":2,"c":3},"c":[{"a":1},{"a":1}]})", limits), "");
  EXPECT_NE(check_json_limits(R"({"a":1,"b":2,"c":3,"d":4})", limits), "");
  EXPECT_NE(check_json_limits(R"({"a":{"a":1,"b":2,"c":3,"d":4}})", limits), "");
  EXPECT_EQ(check_json_limits(R"({"a:::::":1})", limits), "");
}

TEST(JsonGuard, CutOffAnywhereIsHarmless) {
  const std::string text = R"({"a\"b": [1, "x\\", {"c": null}]})";
  for (size_t size = 0; size <= text.size(); ++size) EXPECT_EQ(check_json_limits(text.substr(0, size)), "");
}

}  // namespace
}  // namespace carat
