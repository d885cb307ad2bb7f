#include "formats/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/checked.h"
#include "base/file_map.h"
#include "base/printable.h"
#include "formats/gguf_parser.h"

namespace carat {
namespace {

constexpr uint32_t kMaxParts = 1024;

template <class T>
T load(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

Error wrong_type(const GgufFile& file, const GgufValue& value, std::string_view expected) {
  const std::string found = value.type == GgufType::kArray
                                ? fmt::format("an array of {}", gguf_type_name(value.element))
                                : fmt::format("of type {}", gguf_type_name(value.type));
  return Error{ErrorCode::kCorruptFile,
               fmt::format("{}: metadata '{}' is {}, expected {}", file.name(), printable(value.key), found, expected)};
}

// The elements of an array of `element`, as a view T.
template <class T>
Result<std::optional<T>> find_array(const GgufFile& file, std::string_view key, GgufType element, GgufType also,
                                    std::string_view expected) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return std::optional<T>();
  if (value->type != GgufType::kArray || (value->element != element && value->element != also)) {
    return wrong_type(file, *value, expected);
  }
  if constexpr (std::is_same_v<T, GgufStrings>) {
    return std::optional<T>(T(value->bytes, static_cast<size_t>(value->count)));
  } else {
    return std::optional<T>(T(value->bytes));
  }
}

// Sorted indices of items by name; the name that occurs twice, if one does.
template <class Item, class Name>
std::optional<std::string_view> sort_by_name(const std::vector<Item>& items, std::vector<uint32_t>& order, Name name) {
  order.resize(items.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return name(items[a]) < name(items[b]); });
  for (size_t i = 1; i < order.size(); ++i) {
    if (name(items[order[i - 1]]) == name(items[order[i]])) return name(items[order[i]]);
  }
  return std::nullopt;
}

template <class Item, class Name>
const Item* find_by_name(const std::vector<Item>& items, const std::vector<uint32_t>& order, std::string_view wanted,
                         Name name) {
  const auto at = std::lower_bound(order.begin(), order.end(), wanted,
                                   [&](uint32_t index, std::string_view key) { return name(items[index]) < key; });
  return at != order.end() && name(items[*at]) == wanted ? &items[*at] : nullptr;
}

std::string_view key_of(const GgufValue& value) { return value.key; }
std::string_view name_of(const TensorView& tensor) { return tensor.name; }

// The path of part `part` (from 0) of the split set whose first part is `first`.
Result<std::filesystem::path> part_path(const std::filesystem::path& first, uint32_t part, uint32_t count) {
  const std::string name = first.filename().string();
  const std::string suffix = fmt::format("-{:05}-of-{:05}.gguf", 1, count);
  if (name.size() <= suffix.size() || name.substr(name.size() - suffix.size()) != suffix) {
    return Error{ErrorCode::kNotFound, fmt::format("{}: is part 1 of {}, expected a file name that ends in {}",
                                                   first.string(), count, suffix)};
  }
  const std::string stem = name.substr(0, name.size() - suffix.size());
  return first.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", stem, part + 1, count);
}

}  // namespace

std::string printable(std::string_view text) { return escaped(text, 64); }

Status GgufFile::index() {
  if (const auto twice = sort_by_name(values_, values_by_key_, key_of)) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: metadata '{}' is there twice", name_, printable(*twice))};
  }
  if (const auto twice = sort_by_name(tensors_, tensors_by_name_, name_of)) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: tensor '{}' is there twice", name_, printable(*twice))};
  }
  return {};
}

Result<GgufFile> GgufFile::parse(std::span<const std::byte> bytes, std::string name) {
  CARAT_TRY(GgufFile file, (GgufParser{bytes, std::move(name)}.parse()));
  CARAT_CHECK(file.index());
  return file;
}

Result<GgufFile> GgufFile::open(const std::filesystem::path& path) {
  auto maps = std::make_shared<std::vector<FileMap>>();
  CARAT_TRY(FileMap first, FileMap::open(path));
  maps->push_back(std::move(first));
  CARAT_TRY(GgufFile file, parse(maps->back().bytes(), path.string()));

  CARAT_TRY(const auto split_count, file.find_u32("split.count"));
  const uint32_t parts = split_count.value_or(1);
  if (parts > kMaxParts) {
    return Error{ErrorCode::kCorruptFile,
                 fmt::format("{}: split.count is {}, at most {} parts are allowed", file.name_, parts, kMaxParts)};
  }
  if (parts > 1) {
    CARAT_TRY(const auto first_number, file.find_u32("split.no"));
    if (first_number != 0u) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("{}: is a later part of a split model: name its first part", file.name_)};
    }
  }
  for (uint32_t i = 1; i < parts; ++i) {
    CARAT_TRY(const auto next_path, part_path(path, i, parts));
    CARAT_TRY(FileMap next, FileMap::open(next_path));
    maps->push_back(std::move(next));
    CARAT_TRY(GgufFile part, parse(maps->back().bytes(), next_path.string()));
    CARAT_TRY(const auto count, part.find_u32("split.count"));
    CARAT_TRY(const auto number, part.find_u32("split.no"));
    if (count != parts || number != i) {
      return Error{ErrorCode::kCorruptFile,
                   fmt::format("{}: is not part {} of {}: split.no is {}, split.count {}", part.name_, i + 1, parts,
                               number.value_or(0), count.value_or(0))};
    }
    if (file.tensors_.size() + part.tensors_.size() > kGgufMaxTensors) {
      return Error{ErrorCode::kCorruptFile,
                   fmt::format("{}: the parts hold more than {} tensors", part.name_, kGgufMaxTensors)};
    }
    std::move(part.tensors_.begin(), part.tensors_.end(), std::back_inserter(file.tensors_));
    file.file_bytes_ += part.file_bytes_;
  }
  if (parts > 1) {
    CARAT_TRY(const auto total, file.find_u32("split.tensors.count"));
    if (total && *total != file.tensors_.size()) {
      return Error{ErrorCode::kCorruptFile, fmt::format("{}: split.tensors.count is {}, but the parts hold {} tensors",
                                                        file.name_, *total, file.tensors_.size())};
    }
    CARAT_CHECK(file.index());
  }
  file.maps_ = std::move(maps);
  return file;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  return find_by_name(values_, values_by_key_, key, key_of);
}

const TensorView* GgufFile::find_tensor(std::string_view name) const {
  return find_by_name(tensors_, tensors_by_name_, name, name_of);
}

Result<std::optional<int64_t>> GgufFile::find_i64(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::optional<int64_t>();
  switch (value->type) {
    case GgufType::kU8:
      return std::optional<int64_t>(load<uint8_t>(value->bytes));
    case GgufType::kI8:
      return std::optional<int64_t>(load<int8_t>(value->bytes));
    case GgufType::kU16:
      return std::optional<int64_t>(load<uint16_t>(value->bytes));
    case GgufType::kI16:
      return std::optional<int64_t>(load<int16_t>(value->bytes));
    case GgufType::kU32:
      return std::optional<int64_t>(load<uint32_t>(value->bytes));
    case GgufType::kI32:
      return std::optional<int64_t>(load<int32_t>(value->bytes));
    case GgufType::kI64:
      return std::optional<int64_t>(load<int64_t>(value->bytes));
    case GgufType::kU64: {
      const auto wide = load<uint64_t>(value->bytes);
      if (wide <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return std::optional<int64_t>(static_cast<int64_t>(wide));
      }
      break;
    }
    default:
      break;
  }
  return wrong_type(*this, *value, "an integer below 2^63");
}

Result<std::optional<uint32_t>> GgufFile::find_u32(std::string_view key) const {
  CARAT_TRY(const auto wide, find_i64(key));
  if (!wide) return std::optional<uint32_t>();
  if (*wide < 0 || *wide > std::numeric_limits<uint32_t>::max()) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: metadata '{}' is {}, expected 0 to {}", name_,
                                                      printable(key), *wide, std::numeric_limits<uint32_t>::max())};
  }
  return std::optional<uint32_t>(static_cast<uint32_t>(*wide));
}

Result<std::optional<float>> GgufFile::find_f32(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::optional<float>();
  float number = 0;
  if (value->type == GgufType::kF32) {
    number = load<float>(value->bytes);
  } else if (value->type == GgufType::kF64) {
    const auto wide = load<double>(value->bytes);
    const bool fits = std::abs(wide) <= static_cast<double>(std::numeric_limits<float>::max());
    number = fits ? static_cast<float>(wide) : std::numeric_limits<float>::quiet_NaN();
  } else {
    return wrong_type(*this, *value, "a float");
  }
  if (!std::isfinite(number)) {
    return Error{ErrorCode::kCorruptFile,
                 fmt::format("{}: metadata '{}' is not a finite float", name_, printable(key))};
  }
  return std::optional<float>(number);
}

Result<std::optional<bool>> GgufFile::find_bool(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::optional<bool>();
  if (value->type != GgufType::kBool) return wrong_type(*this, *value, "a bool");
  return std::optional<bool>(load<uint8_t>(value->bytes) != 0);
}

Result<std::optional<std::string_view>> GgufFile::find_string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::optional<std::string_view>();
  if (value->type != GgufType::kString) return wrong_type(*this, *value, "a string");
  return std::optional<std::string_view>(
      std::string_view(reinterpret_cast<const char*>(value->bytes.data()), value->bytes.size()));
}

Result<std::optional<GgufStrings>> GgufFile::find_strings(std::string_view key) const {
  return find_array<GgufStrings>(*this, key, GgufType::kString, GgufType::kString, "an array of strings");
}

Result<std::optional<GgufNumbers<float>>> GgufFile::find_f32s(std::string_view key) const {
  return find_array<GgufNumbers<float>>(*this, key, GgufType::kF32, GgufType::kF32, "an array of f32");
}

Result<std::optional<GgufNumbers<int32_t>>> GgufFile::find_i32s(std::string_view key) const {
  return find_array<GgufNumbers<int32_t>>(*this, key, GgufType::kI32, GgufType::kU32, "an array of i32");
}

Result<std::optional<GgufNumbers<uint8_t>>> GgufFile::find_bools(std::string_view key) const {
  return find_array<GgufNumbers<uint8_t>>(*this, key, GgufType::kBool, GgufType::kBool, "an array of bool");
}

}  // namespace carat
