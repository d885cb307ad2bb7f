// The folder of content-addressed files: `sha256-<hex>` holds exactly the bytes of that digest, always, since a blob
// gets that name only once every byte of it was hashed and is on the disk. What is being written is called
// `...-partial`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "base/atomic_file.h"
#include "base/result.h"
#include "store/blob_writer.h"
#include "store/digest.h"
#include "store/locks.h"
#include "store/verified.h"

namespace carat {

class Blobs {
 public:
  explicit Blobs(const std::filesystem::path& folder)
      : Blobs(folder, VerifiedNotes(folder.parent_path() / "verified", "")) {}
  // A folder of another program, which is only read: what was verified of it is noted elsewhere.
  Blobs(std::filesystem::path folder, VerifiedNotes notes) : folder_(std::move(folder)), notes_(std::move(notes)) {}

  const std::filesystem::path& folder() const { return folder_; }
  const VerifiedNotes& notes() const { return notes_; }
  std::filesystem::path path_of(const Digest& digest) const { return folder_ / ("sha256-" + digest.hex()); }

  // A shared lock on the blob: while it is held, no carat deletes it. Errors: kNotFound, kCorruptFile (another size).
  Result<FileLock> hold(const Digest& digest, uint64_t size_bytes) const;

  // The same of a blob whose bytes are those of its digest: hashed, unless it looks as it did when it was hashed last.
  // `on_bytes` is told how far it got, and stops it (kCancelled) by returning false. Errors: as hold and verify.
  using OnBytes = std::function<bool(uint64_t done_bytes)>;
  Result<FileLock> hold_verified(const Digest& digest, uint64_t size_bytes, const OnBytes& on_bytes = nullptr) const;

  // Reads all of it, whatever is noted. Errors: as hold, and kCorruptFile if the bytes are not those of the digest.
  Status verify(const Digest& digest, uint64_t size_bytes, const OnBytes& on_bytes = nullptr) const;

  // Goes on with what an interrupted writer left of this blob; see BlobWriter::keep.
  // Errors: kIo; also if another process writes it right now.
  Result<BlobWriter> resume(const Digest& expected) const;
  // The same, but none if another process writes it right now.
  Result<std::optional<BlobWriter>> try_resume(const Digest& expected) const;
  // A blob whose digest is not known yet.
  Result<BlobWriter> create() const;

  // A small text as a blob.
  Result<StoredBlob> put(std::string_view text, unsigned mode = kForEverybody) const;

 private:
  Status hash(const FileLock& blob, const Digest& digest, const OnBytes& on_bytes) const;

  std::filesystem::path folder_;
  VerifiedNotes notes_;
};

}  // namespace carat
