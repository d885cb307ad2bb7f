// A float32 matrix in NumPy's .npy format (version 1.0), written row by row: the header's place is kept, and filled in
// when the number of rows is known. The file takes its name when it is finished.
#pragma once

#include <filesystem>
#include <span>

#include "base/atomic_file.h"
#include "base/result.h"

namespace carat::cli {

class NpyWriter {
 public:
  // Errors: kIo.
  // With `group`, rows come in groups of so many: the array is [groups, group, columns].
  static Result<NpyWriter> create(const std::filesystem::path& path, size_t columns, size_t group = 0);

  void append(std::span<const float> row);  // `columns` values; a failed write is told by finish()
  Status finish();                          // errors: kIo

 private:
  NpyWriter(AtomicFile file, size_t columns, size_t group) : file_(std::move(file)), columns_(columns), group_(group) {}
  std::string header() const;

  AtomicFile file_;
  size_t columns_, group_;
  size_t rows_ = 0;
  Status written_;  // of the rows so far
};

}  // namespace carat::cli
