// A float32 matrix in NumPy's .npy format (version 1.0), written row by row: the header's place is kept, and filled in
// when the number of rows is known.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>

#include "base/result.h"

namespace carat::cli {

class NpyWriter {
 public:
  // Errors: kIo.
  static Result<NpyWriter> create(const std::filesystem::path& path, size_t columns);

  void append(std::span<const float> row);  // `columns` values; a failed write is told by finish()
  Status finish();                          // errors: kIo

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  NpyWriter(std::FILE* file, std::filesystem::path path, size_t columns)
      : file_(file), path_(std::move(path)), columns_(columns) {}
  bool write_header();

  std::unique_ptr<std::FILE, Close> file_;
  std::filesystem::path path_;
  size_t columns_;
  size_t rows_ = 0;
  bool failed_ = false;
};

}  // namespace carat::cli
