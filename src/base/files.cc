// O_NONBLOCK only keeps open() from waiting for the other end of a FIFO; it means nothing to a regular file.
#include "base/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/io_error.h"
#include "base/printable.h"

namespace carat {
namespace {

// True at the end of what there is; false when `limit` was passed. Errors: errno.
Result<bool> read_up_to(int fd, size_t limit, std::string& content, const std::filesystem::path& name) {
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error(name, "read it", errno);
    if (got == 0) return true;
    if (content.size() + static_cast<size_t>(got) > limit) return false;
    content.append(buffer.data(), static_cast<size_t>(got));
  }
}

}  // namespace

OwnedFd::OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) ::close(fd_);
}

std::string_view kind_of_file(unsigned mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "a file";
    case S_IFDIR:
      return "a folder";
    case S_IFIFO:
      return "a FIFO";
    case S_IFSOCK:
      return "a socket";
    case S_IFLNK:
      return "a symbolic link";
    default:
      return "a device";
  }
}

Result<OwnedFd> open_regular(const std::filesystem::path& path, int flags) {
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags));
  if (!fd.valid()) return io_error(path, "open it", errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return io_error(path, "look at it", errno);
  if (!S_ISREG(info.st_mode)) {
    return Error{ErrorCode::kIo,
                 fmt::format("{}: it is {}, expected a file", one_line(path.string()), kind_of_file(info.st_mode))};
  }
  return fd;
}

Result<std::string> read_file(const std::filesystem::path& path, size_t limit, int flags) {
  CARAT_TRY(const OwnedFd fd, open_regular(path, flags));
  std::string content;
  CARAT_TRY(const bool whole, read_up_to(fd.get(), limit, content, path));
  if (whole) return content;
  return Error{ErrorCode::kCorruptFile, fmt::format("{}: longer than {} bytes", one_line(path.string()), limit)};
}

Result<std::string> read_all(int fd, std::string_view name, size_t limit) {
  std::string content;
  CARAT_TRY(const bool whole, read_up_to(fd, limit, content, name));
  if (whole) return content;
  return Error{ErrorCode::kTooLong, fmt::format("{}: it is longer than {} MiB, which is more than any context holds",
                                                one_line(name), limit >> 20)};
}

Status write_all(int fd, std::string_view content, const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return io_error(path, "write it", written == 0 ? EIO : errno);
    content.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

Result<std::vector<std::filesystem::path>> list_folder(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  std::filesystem::directory_iterator it(path, error);
  for (const std::filesystem::directory_iterator end; !error && it != end; it.increment(error)) {
    paths.push_back(it->path());
  }
  if (error) return io_error(path, "read this folder", error.value());
  std::sort(paths.begin(), paths.end());
  return paths;
}

bool is_file(const std::filesystem::path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

bool is_folder(const std::filesystem::path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

Result<std::filesystem::path> absolute_path(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return io_error(path, "find the folder that it is relative to", error.value());
  return absolute;
}

}  // namespace carat
