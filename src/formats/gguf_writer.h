// Writes GGUF v3: the header is gathered in memory, the tensors stream through. A file appears under its name only when
// it is whole and on the disk (temporary file, fsync, rename), so a killed writer leaves no half model behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/dtype.h"
#include "formats/gguf.h"

namespace carat {

class GgufHeader {
 public:
  static constexpr uint64_t kAlignment = 32;

  void add_u32(std::string_view key, uint32_t value);
  void add_f32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_strings(std::string_view key, std::span<const std::string_view> values);
  void add_f32s(std::string_view key, std::span<const float> values);
  void add_i32s(std::string_view key, std::span<const int32_t> values);

  void add_value(const GgufValue& value);  // another file's, as it is

  // The next tensor: rows x columns of whole blocks; rows == 1 is written as a vector. `shape`, innermost first: how
  // the file describes what has more dimensions.
  void add_tensor(std::string_view name, DType type, int64_t rows, int64_t columns, std::vector<int64_t> shape = {});

  struct Tensor {
    std::string name;
    DType type;
    int64_t rows, columns;
    uint64_t bytes;
    std::vector<int64_t> shape;  // innermost first
  };
  const std::vector<Tensor>& tensors() const { return tensors_; }

  // Everything before the data, padded to kAlignment. The tensors follow in order, each padded to kAlignment.
  std::string encode() const;

 private:
  void add_key(std::string_view key, GgufType type);
  void add_array(std::string_view key, GgufType element, uint64_t count);

  std::string values_;
  uint64_t value_count_ = 0;
  std::vector<Tensor> tensors_;
};

// Takes the next bytes of a tensor, in any portions.
using GgufSink = std::function<Status(std::span<const std::byte>)>;

// Writes the file, asking `produce(index, sink)` for each tensor of the header in turn, which must hand over exactly
// its bytes. Errors: kIo (disk full, no permission), and whatever `produce` returns; then nothing is left at `path`.
Status write_gguf(const std::filesystem::path& path, const GgufHeader& header,
                  const std::function<Status(size_t index, const GgufSink& sink)>& produce);

}  // namespace carat
