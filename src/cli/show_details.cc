#include "cli/show_details.h"

#include <fmt/format.h>

#include <cstring>

#include "cli/table.h"
#include "model/file_details.h"

namespace carat::cli {
namespace {

constexpr size_t kShownElements = 3;     // of an array: vocabularies have 262,144
constexpr size_t kShownCharacters = 80;  // of a text: templates have pages

std::string shortened(std::string_view text) {
  const std::string_view line = text.substr(0, std::min(text.find('\n'), kShownCharacters));
  return fmt::format("{}{}", line, line.size() < text.size() ? "..." : "");
}

template <class T>
std::string number(std::span<const std::byte> bytes, size_t index) {
  return fmt::to_string(GgufNumbers<T>(bytes)[index]);
}

std::string element(GgufType type, std::span<const std::byte> bytes, size_t index) {
  switch (type) {
    case GgufType::kU8:
      return std::to_string(GgufNumbers<uint8_t>(bytes)[index]);
    case GgufType::kI8:
      return std::to_string(GgufNumbers<int8_t>(bytes)[index]);
    case GgufType::kU16:
      return number<uint16_t>(bytes, index);
    case GgufType::kI16:
      return number<int16_t>(bytes, index);
    case GgufType::kU32:
      return number<uint32_t>(bytes, index);
    case GgufType::kI32:
      return number<int32_t>(bytes, index);
    case GgufType::kF32:
      return number<float>(bytes, index);
    case GgufType::kBool:
      return GgufNumbers<uint8_t>(bytes)[index] != 0 ? "true" : "false";
    case GgufType::kU64:
      return number<uint64_t>(bytes, index);
    case GgufType::kI64:
      return number<int64_t>(bytes, index);
    case GgufType::kF64:
      return number<double>(bytes, index);
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return {};
}

std::string value_text(const GgufValue& value) {
  if (value.type == GgufType::kString) {
    return shortened({reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()});
  }
  if (value.type != GgufType::kArray) return element(value.type, value.bytes, 0);
  std::vector<std::string> shown;
  if (value.element == GgufType::kString) {
    for (const std::string_view text : GgufStrings(value.bytes, value.count)) {
      if (shown.size() == kShownElements) break;
      shown.push_back(shortened(text));
    }
  } else {
    for (size_t i = 0; i < std::min<size_t>(value.count, kShownElements); ++i) {
      shown.push_back(element(value.element, value.bytes, i));
    }
  }
  const size_t more = value.count - shown.size();
  return fmt::format("[{}{}]", fmt::join(shown, ", "), more > 0 ? fmt::format(", ...+{} more", more) : "");
}

Row tensor_row(const TensorView& tensor) {
  const std::string shape =
      tensor.rows == 1 ? fmt::format("[{}]", tensor.columns) : fmt::format("[{} {}]", tensor.columns, tensor.rows);
  return {std::string(tensor.name), std::string(dtype_info(tensor.type).name), shape};
}

}  // namespace

Result<std::string> details_text(const std::filesystem::path& path, const ModelFile& file) {
  CARAT_TRY(const FileDetails details, file_details(path, file));
  std::vector<Row> metadata, tensors;
  if (details.gguf) {
    for (const GgufValue& value : details.gguf->values()) {
      metadata.push_back({std::string(value.key), value_text(value)});
    }
  }
  for (const TensorView& tensor : details.tensors) tensors.push_back(tensor_row(tensor));
  std::string text;
  if (!metadata.empty()) text += fmt::format("  Metadata\n{}\n", format_rows(metadata, 4));
  return text + fmt::format("  Tensors\n{}\n", format_rows(tensors, 4));
}

}  // namespace carat::cli
