// Bounds on JSON that comes from outside, checked by one scan before a parser sees it: a parser's own buffers grow with
// the longest token, its recursion with the depth, and an object that keeps its order takes time quadratic in its keys,
// so all three are limited here. Whoever parses JSON calls this first (tests/laws).
#pragma once

#include <cstddef>
#include <string_view>

namespace carat {

struct JsonLimits {
  size_t depth = 16;             // nested objects and arrays, at most 64
  size_t token_bytes = 1 << 20;  // the longest string or stretch of whitespace
  size_t number_bytes = 1024;    // the longest number, or whatever else stands outside of strings
  size_t keys = 65536;           // of one object
};

// Empty where `text` keeps the limits, else what is wrong ("nested deeper than 16 levels"). It says nothing about
// whether the text is valid JSON.
std::string_view check_json_limits(std::string_view text, const JsonLimits& limits = {});

}  // namespace carat
