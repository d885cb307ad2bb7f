#include "chat/literal_to_json.h"

#include <fmt/format.h>

#include <string_view>

namespace carat::chat {
namespace {

constexpr size_t kMostDepth = 64, kLongestWord = 64;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
bool is_json_number(std::string_view text) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t begin = i;
    while (i < text.size() && is_digit(text[i])) ++i;
    return i - begin;
  };
  if (i < text.size() && text[i] == '-') ++i;
  const size_t whole = i;
  const size_t count = digits();
  if (count == 0 || (count > 1 && text[whole] == '0')) return false;
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (digits() == 0) return false;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

void append_utf8(std::string& out, char32_t code) {
  const auto byte = [&](char32_t b) { out += static_cast<char>(b); };
  if (code < 0x800) {
    byte(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      byte(0xE0 | code >> 12);
    } else {
      byte(0xF0 | code >> 18);
      byte(0x80 | (code >> 12 & 0x3F));
    }
    byte(0x80 | (code >> 6 & 0x3F));
  }
  byte(0x80 | (code & 0x3F));
}

}  // namespace

void LiteralToJson::begin(std::string& out) {
  out_ = &out;
  at_ = At::kValue;
  open_.clear();
  word_.clear();
  is_key_ = false;
}

LiteralToJson::Fed LiteralToJson::feed(char c) {
  switch (at_) {
    case At::kValue:
    case At::kValueOrClose:
      return value(c);
    case At::kKeyOrClose:
    case At::kKey:
      if (is_space(c)) return Fed::kMore;
      if (c == '}' && at_ == At::kKeyOrClose) return close(c);
      if (c != '"' && c != '\'') return Fed::kBad;
      is_key_ = true;
      quote_ = c;
      at_ = At::kFirstQuote;
      *out_ += '"';
      return Fed::kMore;
    case At::kColon:
      if (is_space(c)) return Fed::kMore;
      if (c != ':') return Fed::kBad;
      *out_ += ": ";
      at_ = At::kValue;
      return Fed::kMore;
    case At::kAfter:
      if (is_space(c)) return Fed::kMore;
      if (c != ',') return close(c);
      *out_ += ", ";
      at_ = open_.back() == '{' ? At::kKey : At::kValue;
      return Fed::kMore;
    case At::kWord:
      if (is_letter(c) || is_digit(c) || c == '.' || c == '+' || c == '-') {
        word_ += c;
        return word_.size() <= kLongestWord ? Fed::kMore : Fed::kBad;
      }
      if (!end_word()) return Fed::kBad;
      if (open_.empty()) return Fed::kDoneBefore;
      at_ = At::kAfter;
      return feed(c);
    case At::kFirstQuote:
      if (c == quote_) {
        at_ = At::kSecondQuote;
        return Fed::kMore;
      }
      at_ = At::kText;
      triple_ = false;
      return text(c);
    case At::kSecondQuote:  // an empty text, or three quotes
      if (c == quote_ && !is_key_) {
        at_ = At::kText;
        triple_ = true;
        quotes_ = 0;
        return Fed::kMore;
      }
      if (end_of_value(false) == Fed::kDoneBefore) return Fed::kDoneBefore;
      return feed(c);
    case At::kText:
      return text(c);
    case At::kEscape:
      return escape(c);
    case At::kHex: {
      const char lower = static_cast<char>(c | 0x20);
      if (!is_digit(c) && !(lower >= 'a' && lower <= 'f')) return Fed::kBad;
      code_ = code_ * 16 + static_cast<char32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
      if (--digits_ > 0) return Fed::kMore;
      if (code_ > 0x10FFFF) return Fed::kBad;
      at_ = At::kText;
      if (code_ < 0x80) return put(static_cast<char>(code_));
      if (code_ >= 0xD800 && code_ < 0xE000) {
        *out_ += fmt::format("\\u{:04x}", static_cast<uint32_t>(code_));  // half of a pair, as JSON has it
      } else {
        append_utf8(*out_, code_);
      }
      return Fed::kMore;
    }
  }
  return Fed::kBad;
}

LiteralToJson::Fed LiteralToJson::value(char c) {
  if (is_space(c)) return Fed::kMore;
  if (c == '[' || c == '{') {
    if (open_.size() == kMostDepth) return Fed::kBad;
    open_ += c;
    *out_ += c;
    at_ = c == '[' ? At::kValueOrClose : At::kKeyOrClose;
    return Fed::kMore;
  }
  if (c == ']' && at_ == At::kValueOrClose) return close(c);
  if (c == '"' || c == '\'') {
    is_key_ = false;
    quote_ = c;
    at_ = At::kFirstQuote;
    *out_ += '"';
    return Fed::kMore;
  }
  if (!is_letter(c) && !is_digit(c) && c != '-') return Fed::kBad;
  word_ = c;
  at_ = At::kWord;
  return Fed::kMore;
}

LiteralToJson::Fed LiteralToJson::close(char c) {
  if (open_.empty() || (c != ']' && c != '}') || (c == ']') != (open_.back() == '[')) return Fed::kBad;
  open_.pop_back();
  *out_ += c;
  at_ = At::kAfter;
  return open_.empty() ? Fed::kDone : Fed::kMore;
}

// Of a text: a key's or a value's.
LiteralToJson::Fed LiteralToJson::end_of_value(bool with_this_character) {
  *out_ += '"';
  at_ = is_key_ ? At::kColon : At::kAfter;
  if (is_key_ || !open_.empty()) return Fed::kMore;
  return with_this_character ? Fed::kDone : Fed::kDoneBefore;
}

bool LiteralToJson::end_word() {
  if (word_ == "True" || word_ == "true") {
    *out_ += "true";
  } else if (word_ == "False" || word_ == "false") {
    *out_ += "false";
  } else if (word_ == "None" || word_ == "null") {
    *out_ += "null";
  } else if (is_json_number(word_)) {
    *out_ += word_;
  } else {
    return false;
  }
  return true;
}

LiteralToJson::Fed LiteralToJson::put(char c) {
  switch (c) {
    case '"':
      *out_ += "\\\"";
      break;
    case '\\':
      *out_ += "\\\\";
      break;
    case '\n':
      *out_ += "\\n";
      break;
    case '\t':
      *out_ += "\\t";
      break;
    case '\r':
      *out_ += "\\r";
      break;
    default:
      if (static_cast<unsigned char>(c) < 0x20) {
        *out_ += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
      } else {
        *out_ += c;
      }
  }
  return Fed::kMore;
}

LiteralToJson::Fed LiteralToJson::text(char c) {
  if (c == quote_) {
    if (!triple_) return end_of_value(true);
    return ++quotes_ == 3 ? end_of_value(true) : Fed::kMore;
  }
  for (; triple_ && quotes_ > 0; --quotes_) put(quote_);
  if (c == '\\') {
    at_ = At::kEscape;
    return Fed::kMore;
  }
  return put(c);
}

LiteralToJson::Fed LiteralToJson::escape(char c) {
  at_ = At::kText;
  const auto hex = [&](int digits) {
    at_ = At::kHex;
    digits_ = digits;
    code_ = 0;
    return Fed::kMore;
  };
  switch (c) {
    case 'n':
      return put('\n');
    case 't':
      return put('\t');
    case 'r':
      return put('\r');
    case 'b':
      return put('\b');
    case 'f':
      return put('\f');
    case '\\':
    case '\'':
    case '"':
    case '/':
      return put(c);
    case '\n':  // Python: the line goes on
      return Fed::kMore;
    case 'x':
      return hex(2);
    case 'u':
      return hex(4);
    case 'U':
      return hex(8);
    default:  // Python leaves what it does not know
      put('\\');
      return put(c);
  }
}

}  // namespace carat::chat
