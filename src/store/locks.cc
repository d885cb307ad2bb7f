// flock, with the one check that it needs: after waiting, is what was locked still what the path names?
#include "store/locks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "store/io_error.h"

namespace carat {
namespace {

int operation(LockMode mode) { return mode == LockMode::kShared ? LOCK_SH : LOCK_EX; }

// 0, or errno. EINTR is not an answer: a waiting lock goes on waiting.
int lock(int fd, int how) {
  int result = 0;
  do {
    result = ::flock(fd, how);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

// Whoever deletes a file deletes its path first: a lock on a file that has lost its path protects nothing.
bool still_at(int fd, const std::filesystem::path& path) {
  struct stat opened {};
  struct stat named {};
  return ::fstat(fd, &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
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

Result<OwnedFd> open_in_store(const std::filesystem::path& path) {
  struct stat named {};
  if (::lstat(path.c_str(), &named) != 0) return io_error(path, "open it", errno);
  const bool is_link = S_ISLNK(named.st_mode);
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | (is_link ? 0 : O_NOFOLLOW)));
  const int problem = fd.valid() ? 0 : errno;
  if (!is_link) {
    if (problem != 0) return io_error(path, "open it", problem);
    return fd;
  }
  std::error_code ignored;
  const std::string target = std::filesystem::read_symlink(path, ignored).string();
  if (problem != 0) {
    return Error{ErrorCode::kIo, fmt::format("{}: is a symbolic link to {}, which cannot be opened: {}", path.string(),
                                             target, std::strerror(problem))};
  }
  struct stat opened {};
  if (::fstat(fd.get(), &opened) != 0) return io_error(path, "look at it", errno);
  if (opened.st_uid != named.st_uid) {
    return Error{ErrorCode::kIo,
                 fmt::format("{}: is a symbolic link to {}, which belongs to somebody else (user {}, not "
                             "{}), so it is not followed",
                             path.string(), target, opened.st_uid, named.st_uid)};
  }
  return fd;
}

Result<FileLock> FileLock::acquire(const std::filesystem::path& path, LockMode mode) {
  while (true) {
    CARAT_TRY(OwnedFd fd, open_in_store(path));
    if (const int error = lock(fd.get(), operation(mode)); error != 0) return io_error(path, "lock it", error);
    if (still_at(fd.get(), path)) return FileLock(std::move(fd));
  }
}

Result<std::optional<FileLock>> FileLock::try_acquire(const std::filesystem::path& path, LockMode mode) {
  CARAT_TRY(OwnedFd fd, open_in_store(path));
  return try_adopt(std::move(fd), path, mode);
}

Result<std::optional<FileLock>> FileLock::try_adopt(OwnedFd fd, const std::filesystem::path& path, LockMode mode) {
  const int error = lock(fd.get(), operation(mode) | LOCK_NB);
  if (error == EWOULDBLOCK) return std::optional<FileLock>();
  if (error != 0) return io_error(path, "lock it", error);
  if (!still_at(fd.get(), path)) return std::optional<FileLock>();
  return std::optional<FileLock>(FileLock(std::move(fd)));
}

Status FileLock::downgrade(const std::filesystem::path& path) {
  if (const int error = lock(fd_.get(), LOCK_SH); error != 0) return io_error(path, "lock it", error);
  return {};
}

}  // namespace carat
