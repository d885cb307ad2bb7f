// Files that are there whole or not at all, even if the power fails: written beside, synced, renamed, and the folder
// synced. Only a regular file is ever replaced: /dev/null, a FIFO or a folder of that name stays what it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/files.h"
#include "base/result.h"

namespace carat {

// Temporary files begin with this; no name in the store does.
inline constexpr std::string_view kTemporaryPrefix = ".tmp-";

inline constexpr unsigned kForEverybody = 0644;
inline constexpr unsigned kForOwner = 0600;  // of whatever holds what somebody said

// A file that takes its name when it is committed. Abandoned, it disappears.
class AtomicFile {
 public:
  // A link to a regular file is followed. Errors: kIo (no permission, something else than a file is there).
  static Result<AtomicFile> create(const std::filesystem::path& path, unsigned mode = kForEverybody);

  AtomicFile(AtomicFile&& other) noexcept = default;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  Status write(std::span<const std::byte> bytes);  // at the end; gathered into larger writes
  Status write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  Status rewrite(uint64_t offset, std::string_view text);  // of what was written
  Status commit();

 private:
  AtomicFile(std::filesystem::path path, std::filesystem::path temporary, OwnedFd fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}
  Status flush();

  std::filesystem::path path_, temporary_;
  OwnedFd fd_;  // closed: committed, or moved from
  std::string buffer_;
};

Status write_atomically(const std::filesystem::path& path, std::string_view content, unsigned mode = kForEverybody);

// Every missing folder of `path`, each synced into its parent.
Status make_folders(const std::filesystem::path& path);

Status sync_folder(const std::filesystem::path& path);

// Opens for reading what lies at `path` in the store; a FIFO does not make it wait. A symbolic link, to a file or a folder
// on another disk, is followed if what it leads to belongs to whoever made the link. Errors: kNotFound, kIo.
Result<OwnedFd> open_in_store(const std::filesystem::path& path);

// At most `limit` bytes of a regular file, else kCorruptFile. Opened as open_in_store does it.
Result<std::string> read_small_file(const std::filesystem::path& path, size_t limit);

}  // namespace carat
