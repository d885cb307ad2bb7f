// A line is one cell shorter than the terminal: after writing in the last one, terminals differ in where the cursor is.
#include "cli/repl/word_wrap.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cwchar>
#include <utility>

#include "base/printable.h"
#include "base/utf8.h"

namespace carat::cli {
namespace {

constexpr size_t kTabStop = 8;

bool is_control(char32_t code) { return code < 0x20 || (code >= 0x7F && code < 0xA0); }

size_t cells_of(char32_t code) {
  const int width = ::wcwidth(static_cast<wchar_t>(code));
  return width < 0 ? 1 : static_cast<size_t>(width);  // unknown to the C library: most likely one
}

}  // namespace

std::string WordWrap::push(std::string_view text) {
  const size_t columns = columns_();
  limit_ = columns < 2 ? 0 : columns - 1;
  std::string out;
  for (size_t at = 0; at < text.size();) {
    char32_t code = 0;
    const size_t length = read_utf8(text, at, code);
    const std::string_view bytes = text.substr(at, length == 0 ? 1 : length);
    const bool is_shown = length != 0 && (code == '\n' || code == '\t' || !is_control(code));
    if (is_shown) {
      put(code, bytes, out);
    } else {  // what a terminal would obey, or cannot read
      for (const char c : visible(bytes)) put(static_cast<char32_t>(c), {&c, 1}, out);
    }
    at += bytes.size();
  }
  return out;
}

void WordWrap::put(char32_t code, std::string_view bytes, std::string& out) {
  if (code == '\n') return new_line(out);
  if (code == '\t') {
    const std::string spaces(kTabStop - column_ % kTabStop, ' ');
    for (size_t i = 0; i < spaces.size(); ++i) put(' ', " ", out);
    return;
  }
  const size_t cells = cells_of(code);
  if (code == ' ') {
    word_.clear(), word_cells_ = 0;
    if (limit_ != 0 && column_ + 1 > limit_) return new_line(out);  // the line's end stands for it
    out += ' ';
    ++column_;
    return;
  }
  if (cells == 2) word_.clear(), word_cells_ = 0;  // scripts of wide characters break anywhere
  put_word_part(cells, bytes, out);
  if (cells == 2) word_.clear(), word_cells_ = 0;
}

void WordWrap::put_word_part(size_t cells, std::string_view bytes, std::string& out) {
  if (limit_ != 0 && column_ + cells > limit_) {
    const bool moves = word_cells_ > 0 && word_cells_ < column_ && word_cells_ + cells <= limit_;
    if (moves) {
      const std::string word = std::exchange(word_, {});
      const size_t word_cells = word_cells_;
      out += fmt::format("\x1b[{}D\x1b[K", word_cells);
      new_line(out);
      out += word;
      word_ = word;
      column_ = word_cells_ = word_cells;
    } else {
      new_line(out);
    }
  }
  out += bytes;
  column_ += cells;
  word_ += bytes;
  word_cells_ += cells;
}

void WordWrap::new_line(std::string& out) {
  out += '\n';
  column_ = word_cells_ = 0;
  word_.clear();
}

size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace carat::cli
