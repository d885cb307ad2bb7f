// Opening and reading what a path or a descriptor names, without an exception and without waiting for ever: a FIFO or a
// device where a file is expected is an error, and nothing is read beyond a limit.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace carat {

// An open file descriptor that closes itself; -1 is none.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept;
  OwnedFd& operator=(OwnedFd&& other) noexcept;
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  ~OwnedFd();

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// To read. Errors: kNotFound, kIo (no permission; a folder, a FIFO, a device: "PATH: it is a FIFO, expected a file").
Result<OwnedFd> open_regular(const std::filesystem::path& path, int flags = 0);

// The whole of a regular file. Errors: those of open_regular; kCorruptFile beyond `limit` bytes.
// `flags` as O_NOFOLLOW, for open().
Result<std::string> read_file(const std::filesystem::path& path, size_t limit, int flags = 0);

// All that comes from a descriptor, whatever it is: a pipe, a terminal, a file; a folder is an error. `name`: what a
// person calls it. Errors: kIo; kTooLong beyond `limit` bytes, which the message names.
Result<std::string> read_all(int fd, std::string_view name, size_t limit);

// Errors: kIo.
Status write_all(int fd, std::string_view content, const std::filesystem::path& path);

// The paths in a folder, sorted. Errors: kNotFound, kIo.
Result<std::vector<std::filesystem::path>> list_folder(const std::filesystem::path& path);

bool is_file(const std::filesystem::path& path);    // or a link to one
bool is_folder(const std::filesystem::path& path);  // likewise

// std::filesystem::absolute throws where the current folder is gone. Error: kIo.
Result<std::filesystem::path> absolute_path(const std::filesystem::path& path);

// What a person calls a kind of file that is none: "a folder", "a FIFO", "a device". `mode`: stat's.
std::string_view kind_of_file(unsigned mode);

}  // namespace carat
