// What a command reads: a file, or standard input. Whatever it is (a pipe may be one), it has a limit, and a folder or a
// read error is an error, never an empty text.
#pragma once

#include <cstddef>
#include <string>

#include "base/files.h"
#include "base/result.h"

namespace carat::cli {

inline constexpr size_t kMostPromptBytes = size_t{16} << 20;  // of a prompt, or of a line of JSON
inline constexpr size_t kMostTextBytes = size_t{64} << 20;    // of a text that is measured or tokenised

class Input {
 public:
  // `path`: "-" for standard input. Errors: kNotFound, kIo; also for a FIFO that nobody writes to, after two seconds.
  static Result<Input> open(const std::string& path);

  // Errors: kIo, kTooLong.
  Result<std::string> read(size_t limit = kMostTextBytes);

  // The next line without its end; false after the last one. Errors: kIo, kTooLong beyond kMostPromptBytes.
  Result<bool> next_line(std::string& line);

 private:
  OwnedFd owned_;
  int fd_ = -1;
  std::string name_;
  std::string buffer_;
  size_t taken_ = 0;  // of buffer_
  bool ended_ = false;

  Status await_writer();
};

}  // namespace carat::cli
