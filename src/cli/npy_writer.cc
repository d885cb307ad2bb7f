#include "cli/npy_writer.h"

#include <fmt/format.h>

#include <bit>

namespace carat::cli {

static_assert(std::endian::native == std::endian::little, "the header says little-endian");

Result<NpyWriter> NpyWriter::create(const std::filesystem::path& path, size_t columns, size_t group) {
  CARAT_TRY(AtomicFile file, AtomicFile::create(path));
  NpyWriter writer(std::move(file), columns, group);
  CARAT_CHECK(writer.file_.write(writer.header()));
  return writer;
}

// 128 bytes: magic, version, the length of a Python dictionary, and the dictionary padded with spaces.
std::string NpyWriter::header() const {
  constexpr size_t kHeader = 128, kPrefix = 10;
  std::string header("\x93NUMPY\x01\x00\x76\x00", kPrefix);
  const std::string rows = group_ == 0 ? fmt::format("{}", rows_) : fmt::format("{}, {}", rows_ / group_, group_);
  header += fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns_);
  header.resize(kHeader - 1, ' ');
  return header + '\n';
}

void NpyWriter::append(std::span<const float> row) {
  CARAT_ASSERT(row.size() == columns_);
  ++rows_;
  if (written_.ok()) written_ = file_.write(std::as_bytes(row));
}

Status NpyWriter::finish() {
  CARAT_CHECK(written_);
  CARAT_CHECK(file_.rewrite(0, header()));
  return file_.commit();
}

}  // namespace carat::cli
