// The folder of content-addressed files: `sha256-<hex>` holds exactly the bytes of that digest, always, since a blob
// gets that name only once every byte of it was hashed and is on the disk. What is being written is called
// `...-partial`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "base/result.h"
#include "store/blob_writer.h"
#include "store/digest.h"
#include "store/locks.h"

namespace carat {

class Blobs {
 public:
  explicit Blobs(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path path_of(const Digest& digest) const { return folder_ / ("sha256-" + digest.hex()); }

  // A shared lock on the blob: while it is held, no carat deletes it. Errors: kNotFound, kCorruptFile (another size).
  Result<FileLock> hold(const Digest& digest, uint64_t size_bytes) const;

  // Reads all of it. Errors: as hold, and kCorruptFile if the bytes are not those of the digest. `on_bytes` is told how
  // far it got, and stops it (kCancelled) by returning false.
  Status verify(const Digest& digest, uint64_t size_bytes,
                const std::function<bool(uint64_t done_bytes)>& on_bytes = nullptr) const;

  // Goes on with what an interrupted writer left of this blob; see BlobWriter::keep.
  // Errors: kIo; also if another process writes it right now.
  Result<BlobWriter> resume(const Digest& expected) const;
  // The same, but none if another process writes it right now.
  Result<std::optional<BlobWriter>> try_resume(const Digest& expected) const;
  // A blob whose digest is not known yet.
  Result<BlobWriter> create() const;

  // A small text as a blob.
  Result<StoredBlob> put(std::string_view text) const;

 private:
  std::filesystem::path folder_;
};

}  // namespace carat
