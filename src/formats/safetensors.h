// Hugging Face's safetensors (github.com/huggingface/safetensors): a single file, or shards listed by an index. The
// whole layout is checked when it is opened; a tensor of a type that Carat does not read is an error only when asked
// for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_map.h"
#include "base/result.h"
#include "formats/dtype.h"

namespace carat {

// One tensor as the header describes it.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // as written: "BF16", "F16", "F32", "I64", ...
  std::vector<int64_t> shape;  // outermost first; empty for a scalar
  std::span<const std::byte> data;
};

class SafetensorsFile {
 public:
  // `path`: a .safetensors file, a model.safetensors.index.json, or a directory that holds model.safetensors or that
  // index. Errors: kNotFound, kIo, kCorruptFile, naming file and field.
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  // One file in memory, which must outlive the result. `name` is for messages.
  static Result<SafetensorsFile> parse(std::span<const std::byte> bytes, std::string name);

  bool contains(std::string_view name) const { return find(name) != nullptr; }
  const SafetensorsEntry* find(std::string_view name) const;              // null where absent
  std::span<const SafetensorsEntry> entries() const { return entries_; }  // sorted by name

  // 1-D: one row. 2-D: rows and columns. More: rows = shape[0], columns = the product of the rest. The data has no
  // alignment at all. Errors: kNotFound; kUnsupported (neither F32, F16 nor BF16); kCorruptFile (no elements).
  Result<TensorView> tensor(std::string_view name) const;

  const std::string& name() const { return name_; }
  uint64_t file_bytes() const { return file_bytes_; }  // of all shards together
  const FileMaps& maps() const { return maps_; }       // keeps every view alive; null after parse()

 private:
  Status sort_entries();

  std::string name_;
  uint64_t file_bytes_ = 0;
  std::vector<SafetensorsEntry> entries_;
  FileMaps maps_;
};

// The files in which a directory's tensors lie, by name: model.safetensors, or the index and the shards that it names.
// Errors: as SafetensorsFile::open.
Result<std::vector<std::string>> safetensors_files(const std::filesystem::path& directory);

}  // namespace carat
