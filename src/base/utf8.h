// UTF-8, one code point at a time. Well-formed means the table of the Unicode standard (3.9, D92): no overlong forms,
// no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace carat {

inline constexpr char32_t kWordBoundary = 0x2581;  // SentencePiece writes a space as this
inline constexpr std::string_view kWordBoundaryUtf8 = "\xE2\x96\x81";
inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";  // U+FFFD

// Reads the code point at text[at] (at < text.size()) into `code` and returns its length in bytes; 0 where the bytes
// there are not well-formed.
inline size_t read_utf8(std::string_view text, size_t at, char32_t& code) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const auto tail = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const size_t left = text.size() - at;
  const uint8_t lead = byte(0);
  if (lead < 0x80) {
    code = lead;
    return 1;
  }
  if (lead < 0xC2) return 0;
  if (lead < 0xE0) {
    if (left < 2 || !tail(1)) return 0;
    code = static_cast<char32_t>((lead & 0x1F) << 6 | (byte(1) & 0x3F));
    return 2;
  }
  if (lead < 0xF0) {
    if (left < 3 || !tail(1) || !tail(2)) return 0;
    code = static_cast<char32_t>((lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F));
    return code < 0x800 || (code >= 0xD800 && code < 0xE000) ? 0 : 3;
  }
  if (lead > 0xF4 || left < 4 || !tail(1) || !tail(2) || !tail(3)) return 0;
  code = static_cast<char32_t>((lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F));
  return code < 0x10000 || code > 0x10FFFF ? 0 : 4;
}

inline bool is_valid_utf8(std::string_view text) {
  char32_t code = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t length = read_utf8(text, at, code);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

// Appends `text` with a space for every U+2581.
inline void append_with_spaces(std::string_view text, std::string& out) {
  size_t at = 0;
  for (size_t found = 0; (found = text.find(kWordBoundaryUtf8, at)) != std::string_view::npos;) {
    out.append(text.substr(at, found - at)).push_back(' ');
    at = found + kWordBoundaryUtf8.size();
  }
  out.append(text.substr(at));
}

}  // namespace carat
