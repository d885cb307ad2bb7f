// Writes one blob: hashes while it writes, and at the end syncs, renames to the digest's name, and syncs the folder.
// Killed or out of disk at any instant, it leaves a partial file that nobody takes for a blob and that a later one goes
// on with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "store/hash_thread.h"
#include "store/locks.h"
#include "store/manifest.h"

namespace carat {

class Blobs;

// A blob in the store, and the lock that keeps it there until a manifest names it.
struct StoredBlob {
  BlobRef ref;
  FileLock hold;
};

class BlobWriter {
 public:
  // Makes the folder if need be. Errors: kIo; also if another process writes this file right now.
  static Result<BlobWriter> open(const Blobs& blobs, std::filesystem::path partial, std::optional<Digest> expected);

  // The same, but none if another process (or thread) writes it.
  static Result<std::optional<BlobWriter>> try_open(const Blobs& blobs, std::filesystem::path partial,
                                                    std::optional<Digest> expected);

  uint64_t left_over_bytes() const { return left_over_bytes_; }  // what an earlier writer left in the file
  uint64_t written_bytes() const { return written_bytes_; }

  // Once, before the first write: keeps this many of the left-over bytes (hashing them again), and drops the rest.
  Status keep(uint64_t bytes);
  Status write(std::span<const std::byte> bytes);
  // The same in two steps, for what is large: the bytes go to the file at once, and to a thread that hashes them when the
  // whole buffer that they lie in is handed over. Every byte, in the same order.
  Status write_ahead(std::span<const std::byte> bytes);
  void hash_later(std::vector<std::byte> buffer);
  std::vector<std::byte> spare_buffer() { return hash_->spare(); }  // empty; of one that was handed over
  Status set_mode(unsigned mode);  // who may read it: kForEverybody unless this says otherwise
  Status sync();                   // what is written so far survives a power failure

  // Of all that was written; nothing is written after it.
  Digest digest();
  // Errors: kCorruptFile if the bytes are not those of the expected digest (the partial file is then gone), kIo.
  Result<StoredBlob> commit();
  void discard();  // removes the partial file

 private:
  BlobWriter() = default;

  const Blobs* blobs_ = nullptr;
  std::filesystem::path partial_;
  std::optional<Digest> expected_, digest_;
  FileLock lock_;
  std::unique_ptr<HashThread> hash_ = std::make_unique<HashThread>();
  uint64_t left_over_bytes_ = 0;
  uint64_t written_bytes_ = 0;
  uint64_t hashed_bytes_ = 0;  // or handed over
};

}  // namespace carat
