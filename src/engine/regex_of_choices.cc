// Choices as a regular expression: what means something there is escaped, everything else stands for itself.
#include "engine/constraint.h"

namespace carat {

std::string regex_of_choices(std::span<const std::string> choices) {
  std::string regex = "(?:";
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) regex += '|';
    for (const char c : choices[i]) {
      if (std::string_view("\\.+*?()|[]{}^$#&-~/ ").find(c) != std::string_view::npos) regex += '\\';
      if (c == '\n') {
        regex += "\\n";
      } else {
        regex += c;
      }
    }
  }
  return regex + ")";
}

}  // namespace carat
