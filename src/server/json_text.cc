#include "server/json_text.h"

#include <charconv>
#include <cmath>

#include "base/utf8.h"

namespace carat::server {
namespace {

template <class T>
void append_floating(std::string& out, T value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char digits[40];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out.append(digits, end);
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  size_t plain = 0;  // where the run of characters that need nothing began
  const auto flush = [&](size_t end) { out.append(text, plain, end - plain); };
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != 0x7F) {
      ++i;
      continue;
    }
    if (c >= 0x80) {
      char32_t code = 0;
      const size_t length = read_utf8(text, i, code);
      if (length != 0) {
        i += length;
        continue;
      }
      flush(i);
      out += "\xEF\xBF\xBD";
    } else {
      flush(i);
      switch (c) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\r':
          out += "\\r";
          break;
        case '\t':
          out += "\\t";
          break;
        default:
          (out += "\\u00") += {kHex[c >> 4], kHex[c & 15]};
      }
    }
    plain = ++i;
  }
  flush(text.size());
  out += '"';
}

void append_json_number(std::string& out, double value) { append_floating(out, value); }
void append_json_number(std::string& out, float value) { append_floating(out, value); }

void JsonWriter::separate() {
  if (needs_comma_) out_ += ',';
  needs_comma_ = true;
}

JsonWriter& JsonWriter::open(char c) {
  separate();
  out_ += c;
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::close(char c) {
  out_ += c;
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  separate();
  append_json_string(out_, name);
  out_ += ':';
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  separate();
  append_json_string(out_, text);
  return *this;
}
JsonWriter& JsonWriter::value(bool truth) { return raw(truth ? "true" : "false"); }
JsonWriter& JsonWriter::value(int64_t number) {
  char digits[24];
  return raw({digits, std::to_chars(digits, digits + sizeof digits, number).ptr});
}
JsonWriter& JsonWriter::value(uint64_t number) {
  char digits[24];
  return raw({digits, std::to_chars(digits, digits + sizeof digits, number).ptr});
}
JsonWriter& JsonWriter::value(double number) {
  separate();
  append_json_number(out_, number);
  return *this;
}
JsonWriter& JsonWriter::value(float number) {
  separate();
  append_json_number(out_, number);
  return *this;
}
JsonWriter& JsonWriter::value(std::span<const int32_t> ids) {
  begin_array();
  for (const int32_t id : ids) value(id);
  return end_array();
}
JsonWriter& JsonWriter::null() { return raw("null"); }
JsonWriter& JsonWriter::raw(std::string_view json) {
  separate();
  out_ += json;
  return *this;
}

}  // namespace carat::server
