#include "base/printable.h"

#include <fmt/format.h>

#include "base/utf8.h"

namespace carat {
namespace {

bool is_control(char32_t code) { return code < 0x20 || (code >= 0x7F && code < 0xA0); }

// U+2028 and U+2029 break lines; the others turn around what follows them, so that it reads as something else.
bool breaks_a_line(char32_t code) {
  return code == 0x2028 || code == 0x2029 || (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

std::string escape(char32_t code) {
  switch (code) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return code < 0x80 ? fmt::format("\\x{:02x}", static_cast<uint32_t>(code))
                         : fmt::format("\\u{:04x}", static_cast<uint32_t>(code));
  }
}

std::string shown(std::string_view text, bool on_one_line, size_t most) {
  std::string out;
  out.reserve(text.size());
  size_t characters = 0;
  for (size_t at = 0; at < text.size(); ++characters) {
    if (characters == most) return out + "...";
    char32_t code = 0;
    const size_t length = read_utf8(text, at, code);
    if (length == 0) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at]));
    } else if (is_control(code) ? on_one_line || (code != '\n' && code != '\t') : on_one_line && breaks_a_line(code)) {
      out += escape(code);
    } else {
      out += text.substr(at, length);
    }
    at += length == 0 ? 1 : length;
  }
  return out;
}

}  // namespace

std::string visible(std::string_view text) { return shown(text, false, std::string_view::npos); }
std::string one_line(std::string_view text) { return shown(text, true, std::string_view::npos); }
std::string escaped(std::string_view text, size_t most) { return shown(text, true, most); }

}  // namespace carat
