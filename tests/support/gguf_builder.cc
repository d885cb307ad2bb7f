#include "support/gguf_builder.h"

#include <fstream>

namespace carat::test {
namespace {

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

template <class T>
std::string raw_all(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string type_tag(GgufType type) { return raw(static_cast<uint32_t>(type)); }

std::string counted(std::string_view text) { return raw(uint64_t{text.size()}) + std::string(text); }

void pad(std::string& bytes) { bytes.resize((bytes.size() + 31) / 32 * 32); }

}  // namespace

void GgufBuilder::set_u32(const std::string& key, uint32_t value) {
  metadata_[key] = type_tag(GgufType::kU32) + raw(value);
}
void GgufBuilder::set_f32(const std::string& key, float value) {
  metadata_[key] = type_tag(GgufType::kF32) + raw(value);
}
void GgufBuilder::set_bool(const std::string& key, bool value) {
  metadata_[key] = type_tag(GgufType::kBool) + raw(static_cast<uint8_t>(value));
}
void GgufBuilder::set_string(const std::string& key, std::string_view value) {
  metadata_[key] = type_tag(GgufType::kString) + counted(value);
}

void GgufBuilder::set_array(const std::string& key, GgufType element, size_t count, const std::string& bytes) {
  metadata_[key] = type_tag(GgufType::kArray) + type_tag(element) + raw(uint64_t{count}) + bytes;
}
void GgufBuilder::set_strings(const std::string& key, const std::vector<std::string>& values) {
  std::string bytes;
  for (const std::string& value : values) bytes += counted(value);
  set_array(key, GgufType::kString, values.size(), bytes);
}
void GgufBuilder::set_f32s(const std::string& key, const std::vector<float>& values) {
  set_array(key, GgufType::kF32, values.size(), raw_all(values));
}
void GgufBuilder::set_i32s(const std::string& key, const std::vector<int32_t>& values) {
  set_array(key, GgufType::kI32, values.size(), raw_all(values));
}
void GgufBuilder::set_bools(const std::string& key, const std::vector<uint8_t>& values) {
  set_array(key, GgufType::kBool, values.size(), raw_all(values));
}

void GgufBuilder::add_tensor(const std::string& name, DType type, uint64_t rows, uint64_t columns, std::string bytes) {
  std::vector<uint64_t> shape{columns};
  if (rows != 0) shape.push_back(rows);
  tensors_[name] = {type, std::move(shape), std::move(bytes)};
}

std::string GgufBuilder::bytes() const {
  std::string file = "GGUF" + raw(uint32_t{3}) + raw(uint64_t{tensors_.size()}) + raw(uint64_t{metadata_.size()});
  for (const auto& [key, value] : metadata_) file += counted(key) + value;
  std::string data;
  for (const auto& [name, tensor] : tensors_) {
    pad(data);
    file += counted(name) + raw(static_cast<uint32_t>(tensor.shape.size())) + raw_all(tensor.shape) +
            raw(static_cast<uint32_t>(dtype_info(tensor.type).ggml_id)) + raw(uint64_t{data.size()});
    data += tensor.bytes;
  }
  pad(file);
  pad(data);
  return file + data;
}

void GgufBuilder::write(const std::filesystem::path& path) const {
  const std::string content = bytes();
  std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}

}  // namespace carat::test
