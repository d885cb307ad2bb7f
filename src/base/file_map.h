// A file mapped read-only. The bytes stay valid while the FileMap lives; they come from outside, so trust nothing. A file
// that somebody truncates meanwhile reads as zeros from there on, instead of ending the program with SIGBUS: whoever has
// read all that he wants asks check().
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/files.h"
#include "base/result.h"

namespace carat {

class FileMap {
 public:
  // Errors: kNotFound, kIo (a directory, no permission), kCorruptFile (a Git LFS pointer stands in its place). An empty
  // file maps to an empty span.
  static Result<FileMap> open(const std::filesystem::path& path);

  FileMap() = default;
  FileMap(FileMap&& other) noexcept;
  FileMap& operator=(FileMap&& other) noexcept;
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;
  ~FileMap();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Error: kIo, the file was truncated or written to since it was opened.
  Status check() const;
  const std::filesystem::path& path() const { return path_; }

  // Every byte that was read was there. What was rewritten meanwhile is not told: for who holds a copy of his own.
  // Error: kIo.
  Status whole() const;
  // Pages that are not mapped elsewhere leave the page cache: for devices that share the machine's memory, whose driver does
  // not ask the cache for room.
  void leave_cache() const;

 private:
  OwnedFd fd_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::filesystem::path path_;
  int64_t modified_ns_ = 0;  // of the file, when it was opened
  uint64_t inode_ = 0;
};

// All the files of a model; they live as long as anything that views them.
using FileMaps = std::shared_ptr<const std::vector<FileMap>>;

// Of each; nothing to check is well.
Status check(const FileMaps& maps);
Status whole(const FileMaps& maps);

// Tells the kernel that these mapped bytes will not be read again, so that they stop counting against this process:
// weights are packed out of the map, and the map and the packed copy must never both be resident.
void release_pages(std::span<const std::byte> bytes);

}  // namespace carat
