#include "formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/checked.h"
#include "base/file_map.h"
#include "formats/gguf.h"
#include "formats/safetensors_header.h"

namespace carat {
namespace {

constexpr size_t kMaxShards = 1024;
constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";

// Bytes of an element of a type that safetensors defines; nothing for the others (sub-byte and future ones).
std::optional<uint64_t> element_bytes(std::string_view dtype) {
  for (const std::string_view one : {"BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"}) {
    if (dtype == one) return 1;
  }
  for (const std::string_view two : {"I16", "U16", "F16", "BF16"}) {
    if (dtype == two) return 2;
  }
  for (const std::string_view four : {"I32", "U32", "F32"}) {
    if (dtype == four) return 4;
  }
  for (const std::string_view eight : {"I64", "U64", "F64"}) {
    if (dtype == eight) return 8;
  }
  return std::nullopt;
}

std::optional<DType> dtype_of(std::string_view dtype) {
  if (dtype == "F32") return DType::kF32;
  if (dtype == "F16") return DType::kF16;
  if (dtype == "BF16") return DType::kBF16;
  return std::nullopt;
}

Error corrupt(const std::string& file, std::string_view what) {
  return Error{ErrorCode::kCorruptFile, fmt::format("{}: {}", file, what)};
}

// Bytes that the shape and type ask for; nothing where they overflow. Types of unknown size ask for what is there.
std::optional<uint64_t> shape_bytes(const SafetensorsHeaderEntry& entry) {
  const auto size = element_bytes(entry.dtype);
  if (!size) return entry.end - entry.begin;
  int64_t elements = 1;
  for (const int64_t extent : entry.shape) {
    const auto product = checked_mul(elements, extent);
    if (!product) return std::nullopt;
    elements = *product;
  }
  return checked_mul(static_cast<uint64_t>(elements), *size);
}

// The tensors must fill the data exactly, without gaps and overlaps, as the format demands.
Status check_layout(std::vector<SafetensorsHeaderEntry>& entries, uint64_t data_bytes, const std::string& file) {
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  uint64_t expected = 0;
  for (const SafetensorsHeaderEntry& entry : entries) {
    const std::string name = printable(entry.name);
    if (entry.begin > entry.end || entry.end > data_bytes) {
      return corrupt(file,
                     fmt::format("tensor '{}' has data_offsets [{}, {}], but there are {} bytes of data: the file "
                                 "is truncated or corrupt",
                                 name, entry.begin, entry.end, data_bytes));
    }
    if (entry.begin != expected) {
      return corrupt(
          file, fmt::format("tensor '{}' begins at {}, expected {}: a gap or an overlap", name, entry.begin, expected));
    }
    const auto size = shape_bytes(entry);
    if (size != entry.end - entry.begin) {
      return corrupt(file, fmt::format("tensor '{}' has {} bytes, which its shape and type {} do not match", name,
                                       entry.end - entry.begin, printable(entry.dtype)));
    }
    expected = entry.end;
  }
  if (expected != data_bytes) {
    return corrupt(file, fmt::format("the tensors end at {}, but there are {} bytes of data", expected, data_bytes));
  }
  return {};
}

bool is_plain_file_name(std::string_view name) {
  const bool has_separator = name.find_first_of(std::string_view("/\\\0", 3)) != std::string_view::npos;
  return !name.empty() && !has_separator && name != "." && name.find("..") == std::string_view::npos;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

namespace {

// Where reading a directory begins.
Result<std::filesystem::path> entry_of(const std::filesystem::path& directory) {
  std::error_code ignored;
  for (const char* name : {kSingleName, kIndexName}) {
    if (std::filesystem::exists(std::filesystem::symlink_status(directory / name, ignored))) return directory / name;
  }
  return Error{ErrorCode::kNotFound,
               fmt::format("{}: holds neither {} nor {}", directory.string(), kSingleName, kIndexName)};
}

Result<std::vector<std::pair<std::string, std::string>>> read_index(const FileMap& map, const std::string& name) {
  if (map.bytes().size() > kSafetensorsMaxIndex) return corrupt(name, "is too large for an index");
  CARAT_TRY(auto pairs, parse_safetensors_index(as_text(map.bytes()), name));
  std::sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  for (const auto& [tensor, shard] : pairs) {
    if (is_plain_file_name(shard)) continue;
    return corrupt(name, fmt::format("names the shard '{}', expected a plain file name", printable(shard)));
  }
  return pairs;
}

}  // namespace

Result<std::vector<std::string>> safetensors_files(const std::filesystem::path& directory) {
  CARAT_TRY(const std::filesystem::path entry, entry_of(directory));
  std::vector<std::string> names{entry.filename().string()};
  if (names[0] == kSingleName) return names;
  CARAT_TRY(const FileMap map, FileMap::open(entry));
  CARAT_TRY(const auto pairs, read_index(map, entry.string()));
  for (const auto& [tensor, shard] : pairs) {
    if (names.back() != shard) names.push_back(shard);
  }
  return names;
}

Status SafetensorsFile::sort_entries() {
  std::sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(entries_.begin(), entries_.end(),
                                        [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice == entries_.end()) return {};
  return corrupt(name_, fmt::format("tensor '{}' is there twice", printable(twice->name)));
}

Result<SafetensorsFile> SafetensorsFile::parse(std::span<const std::byte> bytes, std::string name) {
  if (bytes.size() < 8) return corrupt(name, "is not a safetensors file: it is shorter than 8 bytes");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kSafetensorsMaxHeader || header_bytes > bytes.size() - 8) {
    return corrupt(name, fmt::format("claims a header of {} bytes, but the file has {} (at most {} are allowed): it is "
                                     "truncated or not a safetensors file",
                                     header_bytes, bytes.size(), kSafetensorsMaxHeader));
  }
  const std::string_view json = as_text(bytes.subspan(8, static_cast<size_t>(header_bytes)));
  if (json.empty() || json.front() != '{')
    return corrupt(name, "is not a safetensors file: its header is not an object");

  CARAT_TRY(auto header, parse_safetensors_header(json, name));
  const auto data = bytes.subspan(8 + static_cast<size_t>(header_bytes));
  CARAT_CHECK(check_layout(header, data.size(), name));

  SafetensorsFile file;
  file.name_ = std::move(name);
  file.file_bytes_ = bytes.size();
  file.entries_.reserve(header.size());
  for (SafetensorsHeaderEntry& entry : header) {
    file.entries_.push_back(
        {std::move(entry.name), std::move(entry.dtype), std::move(entry.shape),
         data.subspan(static_cast<size_t>(entry.begin), static_cast<size_t>(entry.end - entry.begin))});
  }
  CARAT_CHECK(file.sort_entries());
  return file;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    CARAT_TRY(const std::filesystem::path entry, entry_of(path));
    return open(entry);
  }

  auto maps = std::make_shared<std::vector<FileMap>>();
  CARAT_TRY(FileMap first, FileMap::open(path));
  if (path.extension() != ".json") {
    CARAT_TRY(SafetensorsFile file, parse(first.bytes(), path.string()));
    maps->push_back(std::move(first));
    file.maps_ = std::move(maps);
    return file;
  }

  SafetensorsFile whole;
  whole.name_ = path.string();
  CARAT_TRY(const auto pairs, read_index(first, whole.name_));
  for (size_t begin = 0; begin < pairs.size();) {
    const std::string& shard_name = pairs[begin].second;
    if (maps->size() == kMaxShards) return corrupt(whole.name_, fmt::format("names more than {} shards", kMaxShards));
    const auto shard_path = path.parent_path() / shard_name;
    CARAT_TRY(FileMap map, FileMap::open(shard_path));
    CARAT_TRY(SafetensorsFile shard, parse(map.bytes(), shard_path.string()));
    maps->push_back(std::move(map));
    whole.file_bytes_ += shard.file_bytes_;
    size_t end = begin;
    for (; end < pairs.size() && pairs[end].second == shard_name; ++end) {
      const SafetensorsEntry* entry = shard.find(pairs[end].first);
      if (entry == nullptr) {
        return corrupt(shard.name_,
                       fmt::format("lacks tensor '{}', which the index places in it", printable(pairs[end].first)));
      }
      whole.entries_.push_back(*entry);
    }
    begin = end;
  }
  CARAT_CHECK(whole.sort_entries());
  whole.maps_ = std::move(maps);
  return whole;
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto at =
      std::lower_bound(entries_.begin(), entries_.end(), name,
                       [](const SafetensorsEntry& entry, std::string_view key) { return entry.name < key; });
  return at != entries_.end() && at->name == name ? &*at : nullptr;
}

Result<TensorView> SafetensorsFile::tensor(std::string_view name) const {
  const SafetensorsEntry* entry = find(name);
  if (entry == nullptr) {
    return Error{ErrorCode::kNotFound, fmt::format("{}: has no tensor '{}'", name_, printable(name))};
  }
  const auto type = dtype_of(entry->dtype);
  if (!type) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: tensor '{}' has type {}, expected BF16, F16 or F32", name_,
                                                      printable(name), printable(entry->dtype))};
  }
  if (entry->data.empty()) return corrupt(name_, fmt::format("tensor '{}' has no elements", printable(name)));
  TensorView view;
  view.name = entry->name;
  view.type = *type;
  view.data = entry->data;
  const auto elements = static_cast<int64_t>(entry->data.size()) / dtype_info(*type).block_bytes;
  view.rows = entry->shape.size() < 2 ? 1 : entry->shape.front();
  view.columns = elements / view.rows;
  return view;
}

}  // namespace carat
