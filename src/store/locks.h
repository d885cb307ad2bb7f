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

#include "base/files.h"
#include "base/result.h"

namespace carat {

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
