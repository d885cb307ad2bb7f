#include "store/gemma_template.h"

#include <algorithm>
#include <string>

namespace carat {
namespace {

// Takes every occurrence of `word` out; says whether there was one.
bool take_out(std::string& text, std::string_view word) {
  bool found = false;
  for (size_t at = 0; (at = text.find(word, at)) != std::string::npos; found = true) text.erase(at, word.size());
  return found;
}

}  // namespace

bool is_gemma_template(std::string_view text) {
  std::string literal;
  bool has_content = false;
  while (!text.empty()) {
    const size_t open = text.find("{{");
    literal += text.substr(0, open);
    if (open == std::string_view::npos) break;
    const size_t close = text.find("}}", open);
    if (close == std::string_view::npos) return false;
    const std::string_view action = text.substr(open, close - open);
    has_content |=
        action.find(".Content") != std::string_view::npos || action.find(".Prompt") != std::string_view::npos;
    if (action.find('"') != std::string_view::npos) {
      // A text inside an action may be written too, but for the names of roles that it is compared with.
      std::string names(action);
      for (const char* role : {"\"user\"", "\"system\"", "\"assistant\"", "\"model\"", "\"\""}) take_out(names, role);
      if (names.find('"') != std::string::npos) return false;
    }
    text.remove_prefix(close + 2);
  }
  const bool user = take_out(literal, "<start_of_turn>user");
  const bool model = take_out(literal, "<start_of_turn>model");
  const bool end = take_out(literal, "<end_of_turn>");
  take_out(literal, "<bos>");
  const bool nothing_else = std::all_of(literal.begin(), literal.end(),
                                        [](char c) { return c == '\n' || c == '\r' || c == ' ' || c == '\t'; });
  return has_content && user && model && end && nothing_else;
}

bool is_plain_template(std::string_view text) {
  while (true) {
    const size_t open = text.find("{{");
    if (open == std::string_view::npos) return true;
    const size_t close = text.find("}}", open);
    if (close == std::string_view::npos) return false;
    std::string_view name = text.substr(open + 2, close - open - 2);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    if (name != ".Prompt" && name != ".System") return false;
    text.remove_prefix(close + 2);
  }
}

}  // namespace carat
