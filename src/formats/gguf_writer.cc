#include "formats/gguf_writer.h"

#include "base/atomic_file.h"
#include "base/checked.h"

namespace carat {
namespace {

template <class T>
void append(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void append_string(std::string& out, std::string_view text) {
  append(out, static_cast<uint64_t>(text.size()));
  out += text;
}

}  // namespace

void GgufHeader::add_key(std::string_view key, GgufType type) {
  append_string(values_, key);
  append(values_, type);
  ++value_count_;
}

void GgufHeader::add_array(std::string_view key, GgufType element, uint64_t count) {
  add_key(key, GgufType::kArray);
  append(values_, element);
  append(values_, count);
}

void GgufHeader::add_u32(std::string_view key, uint32_t value) {
  add_key(key, GgufType::kU32);
  append(values_, value);
}

void GgufHeader::add_f32(std::string_view key, float value) {
  add_key(key, GgufType::kF32);
  append(values_, value);
}

void GgufHeader::add_bool(std::string_view key, bool value) {
  add_key(key, GgufType::kBool);
  append(values_, static_cast<uint8_t>(value));
}

void GgufHeader::add_string(std::string_view key, std::string_view value) {
  add_key(key, GgufType::kString);
  append_string(values_, value);
}

void GgufHeader::add_strings(std::string_view key, std::span<const std::string_view> values) {
  add_array(key, GgufType::kString, values.size());
  for (const std::string_view value : values) append_string(values_, value);
}

void GgufHeader::add_f32s(std::string_view key, std::span<const float> values) {
  add_array(key, GgufType::kF32, values.size());
  for (const float value : values) append(values_, value);
}

void GgufHeader::add_i32s(std::string_view key, std::span<const int32_t> values) {
  add_array(key, GgufType::kI32, values.size());
  for (const int32_t value : values) append(values_, value);
}

void GgufHeader::add_value(const GgufValue& value) {
  if (value.type == GgufType::kArray) {
    add_array(value.key, value.element, value.count);
  } else {
    add_key(value.key, value.type);
    if (value.type == GgufType::kString) append(values_, static_cast<uint64_t>(value.bytes.size()));
  }
  values_.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
}

void GgufHeader::add_tensor(std::string_view name, DType type, int64_t rows, int64_t columns,
                            std::vector<int64_t> shape) {
  const auto row_bytes = dtype_bytes(type, static_cast<uint64_t>(columns));
  CARAT_ASSERT(rows > 0 && columns > 0 && row_bytes.has_value());
  if (shape.empty()) shape = {columns};
  if (shape.size() == 1 && rows != 1) shape.push_back(rows);
  tensors_.push_back(
      {std::string(name), type, rows, columns, static_cast<uint64_t>(rows) * *row_bytes, std::move(shape)});
}

std::string GgufHeader::encode() const {
  std::string out = "GGUF";
  append(out, uint32_t{3});
  append(out, static_cast<uint64_t>(tensors_.size()));
  append(out, value_count_);
  out += values_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    append_string(out, tensor.name);
    append(out, static_cast<uint32_t>(tensor.shape.size()));
    for (const int64_t size : tensor.shape) append(out, size);
    append(out, static_cast<uint32_t>(dtype_info(tensor.type).ggml_id));
    append(out, offset);
    offset += round_up(tensor.bytes, kAlignment);
  }
  out.resize(round_up<size_t>(out.size(), kAlignment));
  return out;
}

Status write_gguf(const std::filesystem::path& path, const GgufHeader& header,
                  const std::function<Status(size_t index, const GgufSink& sink)>& produce) {
  static constexpr std::byte kPadding[GgufHeader::kAlignment] = {};
  CARAT_TRY(AtomicFile file, AtomicFile::create(path));
  const std::string head = header.encode();
  CARAT_CHECK(file.write(head));
  for (size_t index = 0; index < header.tensors().size(); ++index) {
    uint64_t written = 0;
    const auto sink = [&](std::span<const std::byte> bytes) {
      written += bytes.size();
      return file.write(bytes);
    };
    CARAT_CHECK(produce(index, sink));
    CARAT_ASSERT(written == header.tensors()[index].bytes);
    const uint64_t padding = round_up(written, GgufHeader::kAlignment) - written;
    CARAT_CHECK(file.write(std::span(kPadding).first(static_cast<size_t>(padding))));
  }
  return file.commit();
}

}  // namespace carat
