// Bounds on JSON that comes from a file, checked by one scan before the parser sees it: a parser's own buffers grow
// with the longest token and its recursion, if it has any, with the depth, so both are limited here.
#pragma once

#include <cstddef>
#include <string_view>

namespace carat {

struct JsonLimits {
  size_t depth = 16;             // nested objects and arrays
  size_t token_bytes = 1 << 20;  // the longest string, number or stretch of whitespace
};

// Empty where `text` keeps the limits, else what is wrong ("nested deeper than 16 levels"). It says nothing about
// whether the text is valid JSON.
std::string_view check_json_limits(std::string_view text, const JsonLimits& limits = {});

}  // namespace carat
