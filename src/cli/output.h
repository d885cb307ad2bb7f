// All that the program says goes through here. Standard output carries answers: whether all of it could be written is
// asked once, at the end, for every command. On a terminal what it would obey is shown instead (base/printable.h), as
// names, templates and what models say come from outside; in a pipe the bytes stay what they are.
#pragma once

#include <fmt/format.h>

#include <string_view>

#include "base/result.h"

namespace carat::cli {

// To standard output.
void write(std::string_view text);

template <class... T>
void say(fmt::format_string<T...> format, T&&... values) {
  write(fmt::format(format, std::forward<T>(values)...));
}

// Lets what was written be seen now: of an answer that comes piece by piece.
void flush();

// To standard error, always made harmless; that it cannot be written is no reason to stop.
void note_text(std::string_view text);

template <class... T>
void note(fmt::format_string<T...> format, T&&... values) {
  note_text(fmt::format(format, std::forward<T>(values)...));
}

// Escape codes and carriage returns of our own, for a terminal: text in them must be harmless already.
void draw_on_output(std::string_view text);
void draw_on_error(std::string_view text);

// A write to standard output has failed: nobody will see what comes now.
bool output_failed();

bool output_is_terminal();
bool error_is_terminal();

// Everything that was written has reached its end. Error: kIo.
Status finish_output();

}  // namespace carat::cli
