// File locks (flock) between processes. Nothing is locked but what the lock protects, so there are no lock files to be
// left over, and a read-only store can still be read:
//   the blobs folder   shared: what I see stays while I look     exclusive: I delete
//   a blob             shared: somebody uses it, do not delete   (held by a running model, and by a pull until its
//                                                                 manifest names the blob)
//   a partial blob, a download folder   exclusive: somebody writes it
// The kernel drops a lock when its process dies, however it dies.
#pragma once

#include <filesystem>
#include <optional>

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

// Opens for reading what lies at `path` in the store; a FIFO does not make it wait. A symbolic link, to a file or a folder
// on another disk, is followed if what it leads to belongs to whoever made the link. Errors: kNotFound, kIo.
Result<OwnedFd> open_in_store(const std::filesystem::path& path);

enum class LockMode { kShared, kExclusive };

class FileLock {
 public:
  // Waits. Errors: kNotFound (nothing at `path`), kIo.
  static Result<FileLock> acquire(const std::filesystem::path& path, LockMode mode);
  // Does not wait: none if another process holds it in a way that excludes `mode`.
  static Result<std::optional<FileLock>> try_acquire(const std::filesystem::path& path, LockMode mode);
  // Takes the lock on a file that is open already; none if it is held elsewhere. Keeps the descriptor.
  static Result<std::optional<FileLock>> try_adopt(OwnedFd fd, const std::filesystem::path& path, LockMode mode);

  FileLock() = default;

  int fd() const { return fd_.get(); }
  Status downgrade(const std::filesystem::path& path);  // exclusive to shared; for an instant it is neither

 private:
  explicit FileLock(OwnedFd fd) : fd_(std::move(fd)) {}
  OwnedFd fd_;
};

}  // namespace carat
