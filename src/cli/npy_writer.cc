#include "cli/npy_writer.h"

#include <fmt/format.h>

#include <bit>
#include <cerrno>
#include <cstring>

namespace carat::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "the header says little-endian");

Error cannot_write(const std::filesystem::path& path) {
  return Error{ErrorCode::kIo, fmt::format("{}: cannot write: {}", path.string(), std::strerror(errno))};
}

}  // namespace

Result<NpyWriter> NpyWriter::create(const std::filesystem::path& path, size_t columns) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return cannot_write(path);
  NpyWriter writer(file, path, columns);
  if (!writer.write_header()) return cannot_write(path);
  return writer;
}

// 128 bytes: magic, version, the length of a Python dictionary, and the dictionary padded with spaces.
bool NpyWriter::write_header() {
  constexpr size_t kHeader = 128, kPrefix = 10;
  std::string header("\x93NUMPY\x01\x00\x76\x00", kPrefix);
  header += fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows_, columns_);
  header.resize(kHeader - 1, ' ');
  header += '\n';
  return std::fwrite(header.data(), 1, header.size(), file_.get()) == header.size();
}

void NpyWriter::append(std::span<const float> row) {
  CARAT_ASSERT(row.size() == columns_);
  ++rows_;
  failed_ = failed_ || std::fwrite(row.data(), sizeof(float), row.size(), file_.get()) != row.size();
}

Status NpyWriter::finish() {
  if (failed_ || std::fseek(file_.get(), 0, SEEK_SET) != 0 || !write_header() || std::fclose(file_.release()) != 0) {
    return cannot_write(path_);
  }
  return {};
}

}  // namespace carat::cli
