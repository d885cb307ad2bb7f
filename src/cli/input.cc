#include "cli/input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/io_error.h"

namespace carat::cli {

Result<Input> Input::open(const std::string& path) {
  Input input;
  if (path == "-") {
    input.fd_ = STDIN_FILENO;
    input.name_ = "standard input";
    return input;
  }
  input.owned_ = OwnedFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!input.owned_.valid()) return io_error(path, "open it", errno);
  input.fd_ = input.owned_.get();
  input.name_ = path;
  struct stat info {};
  if (::fstat(input.fd_, &info) != 0) return io_error(path, "look at it", errno);
  const bool is_of_a_shell = path.starts_with("/dev/fd/") || path.starts_with("/proc/");  // <(command)
  if (S_ISFIFO(info.st_mode) && !is_of_a_shell) CARAT_CHECK(input.await_writer());
  ::fcntl(input.fd_, F_SETFL, ::fcntl(input.fd_, F_GETFL) & ~O_NONBLOCK);
  return input;
}

// A FIFO without a writer reads as one that has ended, one with a writer that has said nothing yet as EAGAIN.
Status Input::await_writer() {
  constexpr int kLooks = 20;
  std::array<char, 4096> block{};
  for (int look = 0; look < kLooks; ++look) {
    const ssize_t got = ::read(fd_, block.data(), block.size());
    if (got > 0) buffer_.append(block.data(), static_cast<size_t>(got));
    if (got > 0 || (got < 0 && errno == EAGAIN)) return {};
    if (got < 0 && errno != EINTR) return io_error(name_, "read it", errno);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return Error{ErrorCode::kIo, fmt::format("{}: it is a FIFO, and nobody writes to it", name_)};
}

Result<std::string> Input::read(size_t limit) {
  CARAT_TRY(const std::string rest, read_all(fd_, name_, limit));
  return buffer_ + rest;
}

Result<bool> Input::next_line(std::string& line) {
  std::array<char, 65536> block{};
  size_t searched = taken_;
  while (true) {
    const size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos || ended_) {
      if (end == std::string::npos && taken_ == buffer_.size()) return false;
      line = buffer_.substr(taken_, end == std::string::npos ? end : end - taken_);
      taken_ = end == std::string::npos ? buffer_.size() : end + 1;
      return true;
    }
    buffer_.erase(0, taken_);
    taken_ = 0;
    searched = buffer_.size();
    if (searched > kMostPromptBytes) {
      return Error{ErrorCode::kTooLong, fmt::format("{}: a line is longer than {} MiB, which is more than any context "
                                                    "holds",
                                                    name_, kMostPromptBytes >> 20)};
    }
    const ssize_t got = ::read(fd_, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error(name_, "read it", errno);
    ended_ = got == 0;
    buffer_.append(block.data(), static_cast<size_t>(got));
  }
}

}  // namespace carat::cli
