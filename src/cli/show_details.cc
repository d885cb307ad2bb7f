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

// An array's element that is an array itself says nothing.
std::string element(GgufType type, std::span<const std::byte> bytes, size_t index) {
  if (type == GgufType::kArray) return {};
  return visit_gguf_number(type, bytes, index, [](auto number) { return fmt::to_string(number); });
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
