// A GGUF file (v2 and v3, little-endian; ggml's gguf.md), single or split, as views into its maps. Everything is
// checked once, when the file is opened: afterwards no lookup can read outside it. Nothing is copied but the names of
// tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_map.h"
#include "base/result.h"
#include "formats/dtype.h"

namespace carat {

// Value types, numbered as in the file.
enum class GgufType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

// One metadata entry. `bytes`: a scalar's bytes, a string's characters, or an array's elements as they lie in the file.
struct GgufValue {
  std::string_view key;
  GgufType type = GgufType::kU8;
  GgufType element = GgufType::kU8;  // arrays only
  uint64_t count = 1;                // arrays: elements
  std::span<const std::byte> bytes;
};

// An array of numbers inside the file, where nothing is aligned.
template <class T>
class GgufNumbers {
 public:
  GgufNumbers() = default;
  explicit GgufNumbers(std::span<const std::byte> bytes) : bytes_(bytes) {}
  size_t size() const { return bytes_.size() / sizeof(T); }
  T operator[](size_t index) const {
    T value;
    std::memcpy(&value, bytes_.data() + index * sizeof(T), sizeof(T));
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
};

// f(x), x being number `index` of those in `bytes`, as its own type (bool for kBool). Not for texts and arrays.
template <class F>
decltype(auto) visit_gguf_number(GgufType type, std::span<const std::byte> bytes, size_t index, F&& f) {
  switch (type) {
    case GgufType::kU8:
      return f(GgufNumbers<uint8_t>(bytes)[index]);
    case GgufType::kI8:
      return f(GgufNumbers<int8_t>(bytes)[index]);
    case GgufType::kU16:
      return f(GgufNumbers<uint16_t>(bytes)[index]);
    case GgufType::kI16:
      return f(GgufNumbers<int16_t>(bytes)[index]);
    case GgufType::kU32:
      return f(GgufNumbers<uint32_t>(bytes)[index]);
    case GgufType::kI32:
      return f(GgufNumbers<int32_t>(bytes)[index]);
    case GgufType::kF32:
      return f(GgufNumbers<float>(bytes)[index]);
    case GgufType::kU64:
      return f(GgufNumbers<uint64_t>(bytes)[index]);
    case GgufType::kI64:
      return f(GgufNumbers<int64_t>(bytes)[index]);
    case GgufType::kF64:
      return f(GgufNumbers<double>(bytes)[index]);
    case GgufType::kBool:
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  CARAT_ASSERT(type == GgufType::kBool);
  return f(GgufNumbers<uint8_t>(bytes)[index] != 0);
}

// An array of strings inside the file: each an u64 length and its characters, so it is read from front to back.
class GgufStrings {
 public:
  class Iterator {
   public:
    using iterator_concept = std::forward_iterator_tag;
    using iterator_category = std::input_iterator_tag;
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = std::string_view;

    Iterator() = default;
    explicit Iterator(const std::byte* at) : at_(at) {}
    std::string_view operator*() const { return {reinterpret_cast<const char*>(at_) + 8, length()}; }
    Iterator& operator++() {
      at_ += 8 + length();
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const Iterator&) const = default;

   private:
    size_t length() const {
      uint64_t length;
      std::memcpy(&length, at_, sizeof(length));
      return length;
    }
    const std::byte* at_ = nullptr;
  };

  GgufStrings() = default;
  GgufStrings(std::span<const std::byte> bytes, size_t count) : bytes_(bytes), count_(count) {}
  size_t size() const { return count_; }
  Iterator begin() const { return Iterator(bytes_.data()); }
  Iterator end() const { return Iterator(bytes_.data() + bytes_.size()); }

 private:
  std::span<const std::byte> bytes_;
  size_t count_ = 0;
};

class GgufFile {
 public:
  // A single file, or the first of a split set (NAME-00001-of-000NN.gguf), which opens every part of it.
  // Errors: kNotFound, kIo, kCorruptFile, kUnsupported (version, byte order, tensor type), each naming file and field.
  static Result<GgufFile> open(const std::filesystem::path& path);

  // One file in memory, which must outlive the result. `name` is for messages.
  static Result<GgufFile> parse(std::span<const std::byte> bytes, std::string name);

  // Typed lookups: nothing where the key is absent, an error where it holds another type or does not fit. Integers of
  // any width and sign are taken where their value fits, f64 where an f32 is wanted; f32s must be finite.
  Result<std::optional<uint32_t>> find_u32(std::string_view key) const;
  Result<std::optional<int64_t>> find_i64(std::string_view key) const;
  Result<std::optional<float>> find_f32(std::string_view key) const;
  Result<std::optional<bool>> find_bool(std::string_view key) const;
  Result<std::optional<std::string_view>> find_string(std::string_view key) const;
  Result<std::optional<GgufStrings>> find_strings(std::string_view key) const;
  Result<std::optional<GgufNumbers<float>>> find_f32s(std::string_view key) const;
  Result<std::optional<GgufNumbers<int32_t>>> find_i32s(std::string_view key) const;  // also of u32 elements
  Result<std::optional<GgufNumbers<uint8_t>>> find_bools(std::string_view key) const;

  const GgufValue* find(std::string_view key) const;             // whatever its type; null where absent
  std::span<const GgufValue> values() const { return values_; }  // in file order, of the first part

  // A tensor of ggml shape ne has columns = ne[0] and rows = the product of the others.
  const TensorView* find_tensor(std::string_view name) const;       // null where absent
  std::span<const TensorView> tensors() const { return tensors_; }  // in file order, part after part

  const std::string& name() const { return name_; }  // of the first part
  uint32_t version() const { return version_; }
  uint32_t alignment() const { return alignment_; }
  uint64_t file_bytes() const { return file_bytes_; }  // of all parts together
  const FileMaps& maps() const { return maps_; }       // keeps every view alive; null after parse()

 private:
  friend struct GgufParser;
  Status index();

  std::string name_;
  uint32_t version_ = 0;
  uint32_t alignment_ = 32;
  uint64_t file_bytes_ = 0;
  std::vector<GgufValue> values_;
  std::vector<TensorView> tensors_;
  std::vector<uint32_t> values_by_key_;  // indices, sorted: hostile names cannot make lookups slow
  std::vector<uint32_t> tensors_by_name_;
  FileMaps maps_;
};

// A name out of a file as it may be shown to people: at most 64 characters, everything but printable ASCII as '?'.
std::string printable(std::string_view text);

}  // namespace carat
