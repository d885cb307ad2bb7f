// The parser of GGUF. The one rule: a count or size out of the file is compared with what remains of the file before
// anything is allocated, multiplied or skipped by it, and sums and products are checked. Time and memory are then
// linear in the bytes that are there, whatever the numbers in them say.
#include "formats/gguf_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/checked.h"

namespace carat {

namespace {

constexpr uint64_t kNoLimit = ~uint64_t{0};

// What people take for a GGUF, in words that say what to do.
std::string_view what_it_is(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 16));
  if (text.starts_with("PK\x03\x04"))
    return "it is a zip archive, as PyTorch's weights are; Carat reads GGUF and safetensors";
  if (text.starts_with("\x80\x02") || text.starts_with("\x80\x04")) return "it is pickled Python, which is not read";
  if (text.starts_with("<!DOC") || text.starts_with("<!doc") || text.starts_with("<html")) {
    return "it is a web page: the download went wrong";
  }
  for (const std::string_view old : {"ggml", "ggjt", "ggmf", "lmgg", "tjgg", "fmgg"}) {
    if (text.starts_with(old)) return "it is of a format that GGUF replaced in 2023: take a newer file";
  }
  if (text.size() > 9 && text[8] == '{' && text.substr(4, 4) == std::string_view("\0\0\0\0", 4)) {
    return "it is a safetensors file: name the folder that it lies in";
  }
  return "it does not begin with 'GGUF'";
}

}  // namespace

static_assert(std::endian::native == std::endian::little, "GGUF numbers are read by memcpy");

uint64_t gguf_scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

std::string_view gguf_type_name(GgufType type) {
  static constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                "bool", "string", "array", "u64", "i64", "f64"};
  const auto index = static_cast<size_t>(type);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

Error GgufParser::error(ErrorCode code, std::string_view what) const {
  return Error{code, fmt::format("{}: {}", name, what)};
}

Error GgufParser::truncated(std::string_view where) const {
  return error(
      ErrorCode::kCorruptFile,
      fmt::format("ends inside {} (byte {} of {}): the file is truncated or not a GGUF", where, at, bytes.size()));
}

template <class T>
Status GgufParser::read(T& value, std::string_view where) {
  if (remaining() < sizeof(T)) return truncated(where);
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  at += sizeof(T);
  return {};
}

Status GgufParser::read_string(std::string_view& text, uint64_t limit, std::string_view where) {
  uint64_t length = 0;
  CARAT_CHECK(read(length, where));
  if (length > limit) {
    return error(ErrorCode::kCorruptFile,
                 fmt::format("{} is {} bytes long, at most {} are allowed", where, length, limit));
  }
  if (length > remaining()) return truncated(where);
  text = {reinterpret_cast<const char*>(bytes.data()) + at, static_cast<size_t>(length)};
  at += static_cast<size_t>(length);
  return {};
}

Status GgufParser::read_array(GgufValue& value, const std::string& where) {
  uint32_t element = 0;
  CARAT_CHECK(read(element, where));
  CARAT_CHECK(read(value.count, where));
  value.element = static_cast<GgufType>(element);
  if (value.element == GgufType::kArray) {
    return error(ErrorCode::kUnsupported, fmt::format("{} is an array of arrays, which no model needs", where));
  }
  const size_t begin = at;
  if (value.element == GgufType::kString) {
    if (value.count > remaining() / 8) return truncated(where);
    for (uint64_t i = 0; i < value.count; ++i) {
      std::string_view text;
      CARAT_CHECK(read_string(text, kNoLimit, where));
    }
  } else {
    const uint64_t size = gguf_scalar_bytes(value.element);
    if (size == 0) {
      return error(ErrorCode::kCorruptFile, fmt::format("{} has elements of unknown type {}", where, element));
    }
    if (value.count > remaining() / size) return truncated(where);
    at += static_cast<size_t>(value.count * size);
  }
  value.bytes = bytes.subspan(begin, at - begin);
  return {};
}

Status GgufParser::read_value(GgufValue& value) {
  CARAT_CHECK(read_string(value.key, kGgufMaxKeyBytes, "a metadata key"));
  if (value.key.empty()) return error(ErrorCode::kCorruptFile, "a metadata key is empty");
  const std::string where = fmt::format("metadata '{}'", printable(value.key));
  uint32_t type = 0;
  CARAT_CHECK(read(type, where));
  value.type = static_cast<GgufType>(type);
  if (value.type == GgufType::kArray) return read_array(value, where);
  if (value.type == GgufType::kString) {
    std::string_view text;
    CARAT_CHECK(read_string(text, kNoLimit, where));
    value.bytes = std::as_bytes(std::span(text));
    return {};
  }
  const uint64_t size = gguf_scalar_bytes(value.type);
  if (size == 0) return error(ErrorCode::kCorruptFile, fmt::format("{} has unknown type {}", where, type));
  if (size > remaining()) return truncated(where);
  value.bytes = bytes.subspan(at, static_cast<size_t>(size));
  at += static_cast<size_t>(size);
  return {};
}

Status GgufParser::read_alignment(const GgufFile& file, uint32_t& alignment) const {
  const auto is_alignment = [](const GgufValue& value) { return value.key == "general.alignment"; };
  const auto found = std::find_if(file.values_.begin(), file.values_.end(), is_alignment);
  if (found == file.values_.end()) return {};
  if (found->type != GgufType::kU32) {
    return error(ErrorCode::kCorruptFile,
                 fmt::format("general.alignment is of type {}, expected u32", gguf_type_name(found->type)));
  }
  std::memcpy(&alignment, found->bytes.data(), sizeof(alignment));
  if (alignment < 8 || alignment > kGgufMaxAlignment || !std::has_single_bit(alignment)) {
    return error(ErrorCode::kCorruptFile, fmt::format("general.alignment is {}, expected a power of two from 8 to {}",
                                                      alignment, kGgufMaxAlignment));
  }
  return {};
}

Status GgufParser::read_tensors(GgufFile& file, uint64_t count) {
  struct Place {
    uint64_t offset, size;
  };
  std::vector<Place> places(static_cast<size_t>(count));
  file.tensors_.resize(static_cast<size_t>(count));
  for (size_t i = 0; i < file.tensors_.size(); ++i) {
    TensorView& tensor = file.tensors_[i];
    std::string_view text;
    CARAT_CHECK(read_string(text, kGgufMaxNameBytes, fmt::format("the name of tensor {} of {}", i + 1, count)));
    if (text.empty()) return error(ErrorCode::kCorruptFile, fmt::format("tensor {} of {} has no name", i + 1, count));
    tensor.name = text;
    const std::string where = fmt::format("tensor '{}'", printable(text));

    uint32_t dimensions = 0;
    CARAT_CHECK(read(dimensions, where));
    if (dimensions < 1 || dimensions > 4) {
      return error(ErrorCode::kCorruptFile, fmt::format("{} has {} dimensions, expected 1 to 4", where, dimensions));
    }
    int64_t rows = 1;
    for (uint32_t d = 0; d < dimensions; ++d) {
      int64_t extent = 0;
      CARAT_CHECK(read(extent, where));
      if (extent <= 0) {
        return error(ErrorCode::kCorruptFile, fmt::format("{} has extent {} in dimension {}", where, extent, d));
      }
      if (d == 0) {
        tensor.columns = extent;
        continue;
      }
      const auto product = checked_mul(rows, extent);
      if (!product) return error(ErrorCode::kCorruptFile, fmt::format("{} has more elements than 2^63", where));
      rows = *product;
    }
    tensor.rows = rows;

    uint32_t type = 0;
    CARAT_CHECK(read(type, where));
    const auto known = dtype_from_ggml(type);
    if (!known) {
      const std::string type_name = ggml_type_name(type);
      return error(ErrorCode::kUnsupported,
                   fmt::format("{} has {}{}, which Carat does not read: take a file in Q4_K_M, Q8_0, BF16 or the like",
                               where, type_name.starts_with("type ") ? "ggml " : "type ", type_name));
    }
    tensor.type = *known;
    const auto row_bytes = dtype_bytes(tensor.type, static_cast<uint64_t>(tensor.columns));
    if (!row_bytes) {
      return error(ErrorCode::kCorruptFile,
                   fmt::format("{} has rows of {} elements, expected a multiple of {} for {}", where, tensor.columns,
                               dtype_info(tensor.type).block_elements, dtype_info(tensor.type).name));
    }
    const auto size = checked_mul(*row_bytes, static_cast<uint64_t>(rows));
    if (!size || !checked_mul(rows, tensor.columns)) {
      return error(ErrorCode::kCorruptFile, fmt::format("{} is larger than any file", where));
    }
    CARAT_CHECK(read(places[i].offset, where));
    places[i].size = *size;
    if (places[i].offset % file.alignment_ != 0) {
      return error(ErrorCode::kCorruptFile, fmt::format("{} lies at offset {}, expected a multiple of {}", where,
                                                        places[i].offset, file.alignment_));
    }
  }

  const uint64_t data = round_up<uint64_t>(at, file.alignment_);
  const uint64_t available = data <= bytes.size() ? bytes.size() - data : 0;
  for (size_t i = 0; i < file.tensors_.size(); ++i) {
    const auto [offset, size] = places[i];
    if (!in_range(offset, size, available)) {
      return error(
          ErrorCode::kCorruptFile,
          fmt::format("tensor '{}' needs {} bytes at offset {} of the data, but only {} are there: the file is "
                      "truncated or corrupt",
                      printable(file.tensors_[i].name), size, offset, available));
    }
    file.tensors_[i].data = bytes.subspan(static_cast<size_t>(data + offset), static_cast<size_t>(size));
  }
  return check_overlaps(file);
}

Status GgufParser::check_overlaps(const GgufFile& file) const {
  std::vector<const TensorView*> by_offset;
  by_offset.reserve(file.tensors_.size());
  for (const TensorView& tensor : file.tensors_) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const TensorView* a, const TensorView* b) { return a->data.data() < b->data.data(); });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    if (by_offset[i - 1]->data.data() + by_offset[i - 1]->data.size() > by_offset[i]->data.data()) {
      return error(ErrorCode::kCorruptFile,
                   fmt::format("tensors '{}' and '{}' overlap", printable(by_offset[i - 1]->name),
                               printable(by_offset[i]->name)));
    }
  }
  return {};
}

Result<GgufFile> GgufParser::parse() {
  GgufFile file;
  file.name_ = name;
  file.file_bytes_ = bytes.size();

  if (bytes.size() < 4 || std::memcmp(bytes.data(), "GGUF", 4) != 0) {
    return error(ErrorCode::kCorruptFile, fmt::format("is not a GGUF file: {}", what_it_is(bytes)));
  }
  at = 4;
  CARAT_CHECK(read(file.version_, "the header"));
  if (file.version_ != 2 && file.version_ != 3) {
    const bool swapped = (file.version_ & 0xffffu) == 0 && file.version_ != 0;
    return error(ErrorCode::kUnsupported, swapped ? "is a big-endian GGUF, expected little-endian"
                                                  : fmt::format("is GGUF version {}, expected 2 or 3", file.version_));
  }
  uint64_t tensors = 0;
  uint64_t values = 0;
  CARAT_CHECK(read(tensors, "the header"));
  CARAT_CHECK(read(values, "the header"));

  // The smallest value is a key of one byte with a u8 (14 bytes), the smallest tensor has a name of one byte (33).
  if (values > std::min(kGgufMaxValues, remaining() / 14)) {
    return error(ErrorCode::kCorruptFile, fmt::format("claims {} metadata values in {} bytes (at most {} are allowed)",
                                                      values, remaining(), kGgufMaxValues));
  }
  file.values_.resize(static_cast<size_t>(values));
  for (GgufValue& value : file.values_) CARAT_CHECK(read_value(value));

  if (tensors > std::min(kGgufMaxTensors, remaining() / 33)) {
    return error(ErrorCode::kCorruptFile, fmt::format("claims {} tensors in {} bytes (at most {} are allowed)", tensors,
                                                      remaining(), kGgufMaxTensors));
  }
  CARAT_CHECK(read_alignment(file, file.alignment_));
  CARAT_CHECK(read_tensors(file, tensors));
  return file;
}

}  // namespace carat
