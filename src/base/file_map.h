// A file mapped read-only. The bytes stay valid while the FileMap lives; they come from outside, so trust nothing.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "base/result.h"

namespace carat {

class FileMap {
 public:
  // Errors: kNotFound, kIo (a directory, no permission). An empty file maps to an empty span.
  static Result<FileMap> open(const std::filesystem::path& path);

  FileMap() = default;
  FileMap(FileMap&& other) noexcept;
  FileMap& operator=(FileMap&& other) noexcept;
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;
  ~FileMap();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::filesystem::path path_;
};

// Tells the kernel that these mapped bytes will not be read again, so that they stop counting against this process:
// weights are packed out of the map, and the map and the packed copy must never both be resident.
void release_pages(std::span<const std::byte> bytes);

}  // namespace carat
