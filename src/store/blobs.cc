// Blobs are only ever looked at under a shared lock of their folder, so nothing is deleted between a look and a lock.
#include "store/blobs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <vector>

#include "base/atomic_file.h"
#include "base/io_error.h"

namespace carat {

Result<FileLock> Blobs::hold(const Digest& digest, uint64_t size_bytes) const {
  const auto path = path_of(digest);
  CARAT_TRY(const FileLock folder_lock, FileLock::acquire(folder_, LockMode::kShared));
  CARAT_TRY(FileLock lock, FileLock::acquire(path, LockMode::kShared));
  struct stat info {};
  if (::fstat(lock.fd(), &info) != 0) return io_error(path, "look at it", errno);
  if (!S_ISREG(info.st_mode) || static_cast<uint64_t>(info.st_size) != size_bytes) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: it has {} bytes, not {}; pull the model again",
                                                      path.string(), info.st_size, size_bytes)};
  }
  return lock;
}

Result<FileLock> Blobs::hold_verified(const Digest& digest, uint64_t size_bytes, const OnBytes& on_bytes) const {
  CARAT_TRY(FileLock lock, hold(digest, size_bytes));
  struct stat look {};
  if (::fstat(lock.fd(), &look) != 0) return io_error(path_of(digest), "look at it", errno);
  if (!notes_.has(digest, look)) CARAT_CHECK(hash(lock, digest, on_bytes));
  return lock;
}

Status Blobs::verify(const Digest& digest, uint64_t size_bytes, const OnBytes& on_bytes) const {
  CARAT_TRY(const FileLock lock, hold(digest, size_bytes));
  return hash(lock, digest, on_bytes);
}

// The look is taken before the bytes are read: what changes meanwhile is found the next time.
Status Blobs::hash(const FileLock& blob, const Digest& digest, const OnBytes& on_bytes) const {
  struct stat look {};
  if (::fstat(blob.fd(), &look) != 0) return io_error(path_of(digest), "look at it", errno);
  Sha256 sum;
  std::vector<std::byte> buffer(1 << 20);
  uint64_t done = 0;
  while (true) {
    const ssize_t got = ::pread(blob.fd(), buffer.data(), buffer.size(), static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error(path_of(digest), "read it", errno);
    if (got == 0) break;
    sum.update({buffer.data(), static_cast<size_t>(got)});
    done += static_cast<uint64_t>(got);
    if (on_bytes && !on_bytes(done)) return Error{ErrorCode::kCancelled, "cancelled"};
  }
  if (sum.finish() != digest) {
    notes_.forget(digest);
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: its bytes are not those of its name; pull the model again",
                                                      path_of(digest).string())};
  }
  (void)notes_.note(digest, look);  // a store that is only read is hashed each time
  return {};
}

Result<BlobWriter> Blobs::resume(const Digest& expected) const {
  return BlobWriter::open(*this, path_of(expected).string() + "-partial", expected);
}

Result<std::optional<BlobWriter>> Blobs::try_resume(const Digest& expected) const {
  return BlobWriter::try_open(*this, path_of(expected).string() + "-partial", expected);
}

Result<BlobWriter> Blobs::create() const {
  static std::atomic<int> counter = 0;
  const std::string name = fmt::format("import-{}-{}-partial", ::getpid(), counter++);
  CARAT_TRY(BlobWriter writer, BlobWriter::open(*this, folder_ / name, std::nullopt));
  CARAT_CHECK(writer.keep(0));
  return writer;
}

Result<StoredBlob> Blobs::put(std::string_view text, unsigned mode) const {
  CARAT_TRY(BlobWriter writer, create());
  CARAT_CHECK(writer.set_mode(mode));
  Status status = writer.write(std::as_bytes(std::span(text)));
  if (!status.ok()) {
    writer.discard();
    return status.error();
  }
  return writer.commit();
}

}  // namespace carat
