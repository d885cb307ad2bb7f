#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/printable.h"

namespace carat::cli {
namespace {

int write_error = 0;  // errno of the first write that failed

void put(std::FILE* file, std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), file) != text.size() && file == stdout && write_error == 0) {
    write_error = errno == 0 ? EIO : errno;
  }
}

}  // namespace

bool output_failed() { return write_error != 0; }

bool output_is_terminal() {
  static const bool is_terminal = ::isatty(STDOUT_FILENO) == 1;
  return is_terminal;
}

bool error_is_terminal() {
  static const bool is_terminal = ::isatty(STDERR_FILENO) == 1;
  return is_terminal;
}

void write(std::string_view text) {
  if (output_is_terminal()) {
    put(stdout, visible(text));
  } else {
    put(stdout, text);
  }
}

void flush() {
  errno = 0;
  if (std::fflush(stdout) != 0 && write_error == 0) write_error = errno == 0 ? EIO : errno;
}

void note_text(std::string_view text) {
  flush();  // in the order in which it was said
  put(stderr, visible(text));
}

void draw_on_output(std::string_view text) {
  put(stdout, text);
  flush();
}

void draw_on_error(std::string_view text) {
  put(stderr, text);
  std::fflush(stderr);
}

Status finish_output() {
  flush();
  if (write_error == 0 && std::ferror(stdout) == 0) return {};
  return Error{ErrorCode::kIo,
               fmt::format("cannot write to standard output: {}", std::strerror(write_error == 0 ? EIO : write_error))};
}

}  // namespace carat::cli
