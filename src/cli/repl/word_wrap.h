// An answer on a terminal, wrapped between words while it streams. Every piece is shown at once; when a word turns out
// too long for its line, what is shown of it is taken back and written again on the next one.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace carat::cli {

class WordWrap {
 public:
  // `columns` is asked at every piece, so that a resized terminal counts at once; 0: no wrapping.
  explicit WordWrap(std::function<size_t()> columns) : columns_(std::move(columns)) {}

  // What to write to the terminal for `text`, whole code points of UTF-8. Control characters but newline and tab are
  // shown as escapes: a model must not be able to move the cursor or to name the window.
  std::string push(std::string_view text);

 private:
  void put(char32_t code, std::string_view bytes, std::string& out);
  void put_word_part(size_t cells, std::string_view bytes, std::string& out);
  void new_line(std::string& out);

  std::function<size_t()> columns_;
  size_t limit_ = 0;       // cells of a line; 0: no wrapping
  size_t column_ = 0;      // cells written on this line
  std::string word_;       // what is shown of the word at the end of the line
  size_t word_cells_ = 0;  // its width
};

// Columns of the terminal behind standard output; 0 if it is none or does not say.
size_t terminal_columns();

}  // namespace carat::cli
