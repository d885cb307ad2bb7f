// Hash, sync, rename, sync the folder; positions are explicit (pwrite) so that resuming needs no seek.
#include "store/blob_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/io_error.h"
#include "store/blobs.h"

namespace carat {
namespace {

constexpr uint64_t kFlushBytes = 8 << 20;

}  // namespace

Result<BlobWriter> BlobWriter::open(const Blobs& blobs, std::filesystem::path partial, std::optional<Digest> expected) {
  const std::string name = partial.string();
  CARAT_TRY(auto writer, try_open(blobs, std::move(partial), expected));
  if (!writer) return Error{ErrorCode::kIo, name + ": another carat is writing it; try again when it is done"};
  return std::move(*writer);
}

Result<std::optional<BlobWriter>> BlobWriter::try_open(const Blobs& blobs, std::filesystem::path partial,
                                                       std::optional<Digest> expected) {
  CARAT_CHECK(make_folders(blobs.folder()));
  // Who sweeps waits until the file that is made here is held: it would take it for one that somebody was killed writing.
  CARAT_TRY(const FileLock folder_lock, FileLock::acquire(blobs.folder(), LockMode::kShared));
  OwnedFd fd(::open(partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644));
  if (!fd.valid()) return io_error(partial, "write it", errno);
  CARAT_TRY(auto lock, FileLock::try_adopt(std::move(fd), partial, LockMode::kExclusive));
  if (!lock) return std::optional<BlobWriter>();

  BlobWriter writer;
  writer.blobs_ = &blobs;
  writer.partial_ = std::move(partial);
  writer.expected_ = expected;
  writer.lock_ = std::move(*lock);
  struct stat info {};
  if (::fstat(writer.lock_.fd(), &info) != 0) return io_error(writer.partial_, "look at it", errno);
  writer.left_over_bytes_ = static_cast<uint64_t>(info.st_size);
  return std::optional<BlobWriter>(std::move(writer));
}

Status BlobWriter::keep(uint64_t bytes) {
  CARAT_ASSERT(written_bytes_ == 0 && bytes <= left_over_bytes_);
  if (::ftruncate(lock_.fd(), static_cast<off_t>(bytes)) != 0) return io_error(partial_, "write it", errno);
  std::vector<std::byte> buffer(1 << 20);
  while (written_bytes_ < bytes) {
    const size_t want = std::min<uint64_t>(buffer.size(), bytes - written_bytes_);
    const ssize_t got = ::pread(lock_.fd(), buffer.data(), want, static_cast<off_t>(written_bytes_));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return io_error(partial_, "read it", got == 0 ? EIO : errno);
    hash_->update({buffer.data(), static_cast<size_t>(got)});
    written_bytes_ += static_cast<uint64_t>(got);
  }
  hashed_bytes_ = written_bytes_;
  return {};
}

Status BlobWriter::write(std::span<const std::byte> bytes) {
  CARAT_CHECK(write_ahead(bytes));
  hash_->update(bytes);
  hashed_bytes_ += bytes.size();
  return {};
}

Status BlobWriter::write_ahead(std::span<const std::byte> bytes) {
  const uint64_t before = written_bytes_;
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(lock_.fd(), bytes.data(), bytes.size(), static_cast<off_t>(written_bytes_));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error(partial_, "write it", errno);
    written_bytes_ += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  // The disk begins at once: else it would idle until the sync at the end, which would then take as long again.
  const uint64_t from = before / kFlushBytes * kFlushBytes, to = written_bytes_ / kFlushBytes * kFlushBytes;
  if (to > from)
    (void)::sync_file_range(lock_.fd(), static_cast<off_t>(from), static_cast<off_t>(to - from), SYNC_FILE_RANGE_WRITE);
  return {};
}

void BlobWriter::hash_later(std::vector<std::byte> buffer) {
  hashed_bytes_ += buffer.size();
  hash_->hand_over(std::move(buffer));
}

Status BlobWriter::set_mode(unsigned mode) {
  if (::fchmod(lock_.fd(), mode) != 0) return io_error(partial_, "write it", errno);
  return {};
}

Status BlobWriter::sync() {
  if (::fsync(lock_.fd()) != 0) return io_error(partial_, "write it", errno);
  return {};
}

Digest BlobWriter::digest() {
  CARAT_ASSERT(hashed_bytes_ == written_bytes_);
  if (!digest_) digest_ = hash_->finish();
  return *digest_;
}

Result<StoredBlob> BlobWriter::commit() {
  const Digest digest = this->digest();
  if (expected_ && digest != *expected_) {
    discard();
    return Error{ErrorCode::kCorruptFile,
                 fmt::format("what was fetched is not what it should be: its SHA-256 is {}, not {}", digest.hex(),
                             expected_->hex())};
  }
  CARAT_CHECK(sync());
  // Under the folder's lock nobody deletes blobs, so none can go between its new name and its shared lock.
  CARAT_TRY(const FileLock folder_lock, FileLock::acquire(blobs_->folder(), LockMode::kShared));
  const auto path = blobs_->path_of(digest);
  if (::rename(partial_.c_str(), path.c_str()) != 0) return io_error(path, "write it", errno);
  CARAT_CHECK(lock_.downgrade(path));
  CARAT_CHECK(sync_folder(blobs_->folder()));
  struct stat look {};
  if (::fstat(lock_.fd(), &look) == 0) (void)blobs_->notes().note(digest, look);  // else its first use hashes it again
  return StoredBlob{BlobRef{digest, written_bytes_}, std::move(lock_)};
}

void BlobWriter::discard() { ::unlink(partial_.c_str()); }

}  // namespace carat
