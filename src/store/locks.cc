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

#include "base/atomic_file.h"
#include "base/io_error.h"

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
