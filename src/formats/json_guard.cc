#include "formats/json_guard.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace carat {
namespace {

enum class Run : uint8_t { kNone, kSpace, kWord };

// By byte: a table, because tokenizer.json has 33 million of them.
constexpr std::array<Run, 256> kRuns = [] {
  std::array<Run, 256> runs{};
  runs.fill(Run::kWord);
  for (const char c : {' ', '\t', '\n', '\r'}) runs[static_cast<uint8_t>(c)] = Run::kSpace;
  for (const char c : {'{', '}', '[', ']', ',', ':', '"'}) runs[static_cast<uint8_t>(c)] = Run::kNone;
  return runs;
}();

}  // namespace

std::string_view check_json_limits(std::string_view text, const JsonLimits& limits) {
  std::array<size_t, 65> keys{};  // of the open object at each depth
  size_t depth = 0;
  Run run = Run::kNone;
  size_t run_begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const Run kind = kRuns[static_cast<uint8_t>(c)];
    if (kind != Run::kNone) {
      if (kind != run) run_begin = i;
      run = kind;
      const size_t length = i - run_begin + 1;
      if (kind == Run::kSpace && length > limits.token_bytes) return "holds a stretch of whitespace that is too long";
      if (kind == Run::kWord && length > limits.number_bytes) return "holds a number that is too long";
      continue;
    }
    run = Run::kNone;
    if (c == '"') {
      const size_t begin = i + 1;
      for (++i; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\') ++i;
      }
      if (std::min(i, text.size()) - begin > limits.token_bytes) return "holds a string that is too long";
    } else if (c == '{' || c == '[') {
      if (++depth > std::min(limits.depth, keys.size() - 1)) return "is nested too deeply";
      keys[depth] = 0;
    } else if (c == '}' || c == ']') {
      if (depth > 0) --depth;
    } else if (c == ':') {
      if (++keys[depth] > limits.keys) return "holds an object with too many fields";
    }
  }
  return {};
}

}  // namespace carat
