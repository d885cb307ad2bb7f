#include "formats/json_guard.h"

namespace carat {
namespace {

enum class Run { kNone, kSpace, kWord };

Run run_of(char c) {
  switch (c) {
    case ' ':
    case '\t':
    case '\n':
    case '\r':
      return Run::kSpace;
    case '{':
    case '}':
    case '[':
    case ']':
    case ',':
    case ':':
    case '"':
      return Run::kNone;
    default:
      return Run::kWord;
  }
}

}  // namespace

std::string_view check_json_limits(std::string_view text, const JsonLimits& limits) {
  size_t depth = 0;
  size_t run_length = 0;
  Run run = Run::kNone;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (++run_length > limits.token_bytes) return "holds a string that is too long";
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    const Run kind = run_of(c);
    run_length = kind == run && kind != Run::kNone ? run_length + 1 : 0;
    run = kind;
    if (run_length > limits.token_bytes) return "holds a number or a stretch of whitespace that is too long";
    if (c == '"') in_string = true;
    if ((c == '{' || c == '[') && ++depth > limits.depth) return "is nested too deeply";
    if ((c == '}' || c == ']') && depth > 0) --depth;
  }
  return {};
}

}  // namespace carat
