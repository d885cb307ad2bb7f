// Writes small GGUF v3 files for tests: metadata in the order it is added, then tensors, 32-byte aligned.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "formats/dtype.h"
#include "formats/gguf.h"

namespace carat::test {

class GgufBuilder {
 public:
  void set_u32(const std::string& key, uint32_t value);
  void set_f32(const std::string& key, float value);
  void set_bool(const std::string& key, bool value);
  void set_string(const std::string& key, std::string_view value);
  void set_strings(const std::string& key, const std::vector<std::string>& values);
  void set_f32s(const std::string& key, const std::vector<float>& values);
  void set_i32s(const std::string& key, const std::vector<int32_t>& values);
  void set_bools(const std::string& key, const std::vector<uint8_t>& values);
  void erase(const std::string& key) { metadata_.erase(key); }

  // A vector (rows == 0) or a matrix; `bytes` as its type stores it.
  void add_tensor(const std::string& name, DType type, uint64_t rows, uint64_t columns, std::string bytes);
  void erase_tensor(const std::string& name) { tensors_.erase(name); }

  std::string bytes() const;
  void write(const std::filesystem::path& path) const;

 private:
  struct Tensor {
    DType type;
    std::vector<uint64_t> shape;
    std::string bytes;
  };

  void set_array(const std::string& key, GgufType element, size_t count, const std::string& bytes);

  std::map<std::string, std::string> metadata_;  // key -> type and value as the file holds them
  std::map<std::string, Tensor> tensors_;
};

}  // namespace carat::test
