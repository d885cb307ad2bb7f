// Both texts are read by event handlers (nlohmann's SAX interface) that know the only shapes allowed, so nothing is
// ever built of what is not: no tree, no recursion, and a cap on the entries.
#include "formats/safetensors_header.h"

#include <fmt/format.h>

#include <limits>

#include "base/json.h"
#include "formats/gguf.h"
#include "formats/json_guard.h"

namespace carat {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxNameBytes = 1024;
constexpr size_t kMaxDimensions = 8;

// What both handlers share: every event is refused unless the handler takes it.
struct Handler : nlohmann::json_sax<Json> {
  std::string problem;

  bool refuse(std::string what) {
    if (problem.empty()) problem = std::move(what);
    return false;
  }
  bool null() override { return refuse("an unexpected null"); }
  bool boolean(bool) override { return refuse("an unexpected true or false"); }
  bool number_integer(int64_t) override { return refuse("an unexpected negative number"); }
  bool number_unsigned(uint64_t) override { return refuse("an unexpected number"); }
  bool number_float(double, const std::string&) override { return refuse("an unexpected fraction"); }
  bool string(std::string&) override { return refuse("an unexpected string"); }
  bool binary(Json::binary_t&) override { return refuse("binary data"); }
  bool start_object(size_t) override { return refuse("an unexpected object"); }
  bool key(std::string&) override { return refuse("an unexpected key"); }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return refuse("an unexpected array"); }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return refuse(fmt::format("a syntax error at byte {}", position));
  }
};

struct HeaderHandler final : Handler {
  enum class At { kStart, kTop, kEntry, kMetadata, kShape, kOffsets };
  enum Field : unsigned { kDtype = 1, kShapeField = 2, kOffsetsField = 4 };

  std::vector<SafetensorsHeaderEntry> entries;
  At at = At::kStart;
  bool in_metadata = false;
  unsigned expected = 0;  // the field whose value comes next
  unsigned seen = 0;
  size_t offsets = 0;
  bool has_metadata = false;

  SafetensorsHeaderEntry& entry() { return entries.back(); }

  bool start_object(size_t) override {
    if (at == At::kStart) return at = At::kTop, true;
    if (at != At::kTop) return refuse("an object where none belongs");
    at = in_metadata ? At::kMetadata : At::kEntry;
    seen = expected = 0;
    return true;
  }

  bool key(std::string& text) override {
    if (at == At::kMetadata) return true;
    if (at == At::kTop) {
      in_metadata = text == "__metadata__";
      if (in_metadata) {
        if (has_metadata) return refuse("'__metadata__' is there twice");
        return has_metadata = true;
      }
      if (text.empty() || text.size() > kMaxNameBytes) {
        return refuse(fmt::format("a tensor's name has {} bytes, expected 1 to {}", text.size(), kMaxNameBytes));
      }
      if (entries.size() == kSafetensorsMaxTensors) {
        return refuse(fmt::format("more than {} tensors", kSafetensorsMaxTensors));
      }
      entries.emplace_back().name = text;
      return true;
    }
    expected = text == "dtype" ? kDtype : text == "shape" ? kShapeField : text == "data_offsets" ? kOffsetsField : 0u;
    if (expected == 0) return refuse(fmt::format("tensor '{}' has the unknown field '{}'", shown(), printable(text)));
    if ((seen & expected) != 0) return refuse(fmt::format("tensor '{}' has '{}' twice", shown(), printable(text)));
    seen |= expected;
    return true;
  }

  bool string(std::string& text) override {
    if (at == At::kMetadata) return true;
    if (at != At::kEntry || expected != kDtype) return refuse("a string where none belongs");
    if (text.empty() || text.size() > 16) return refuse(fmt::format("tensor '{}' has no sensible dtype", shown()));
    entry().dtype = text;
    expected = 0;
    return true;
  }

  bool start_array(size_t) override {
    if (at != At::kEntry || (expected != kShapeField && expected != kOffsetsField)) {
      return refuse("an array where none belongs");
    }
    at = expected == kShapeField ? At::kShape : At::kOffsets;
    offsets = 0;
    expected = 0;
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (at == At::kShape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return refuse(fmt::format("tensor '{}' has the extent {}", shown(), value));
      }
      if (entry().shape.size() == kMaxDimensions) {
        return refuse(fmt::format("tensor '{}' has more than {} dimensions", shown(), kMaxDimensions));
      }
      entry().shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (at != At::kOffsets) return refuse("a number where none belongs");
    if (offsets == 2) return refuse(fmt::format("tensor '{}' has more than two data_offsets", shown()));
    (offsets++ == 0 ? entry().begin : entry().end) = value;
    return true;
  }

  bool end_array() override {
    if (at == At::kOffsets && offsets != 2) return refuse(fmt::format("tensor '{}' needs two data_offsets", shown()));
    at = At::kEntry;
    return true;
  }

  bool end_object() override {
    if (at == At::kEntry && seen != (kDtype | kShapeField | kOffsetsField)) {
      return refuse(fmt::format("tensor '{}' lacks dtype, shape or data_offsets", shown()));
    }
    at = At::kTop;
    return true;
  }

  std::string shown() { return printable(entry().name); }
};

struct IndexHandler final : Handler {
  std::vector<std::pair<std::string, std::string>> pairs;
  size_t depth = 0;
  bool in_map = false;
  bool has_map = false;

  bool ignored() { return !in_map || refuse("'weight_map' holds something that is not a string"); }
  bool null() override { return ignored(); }
  bool boolean(bool) override { return ignored(); }
  bool number_integer(int64_t) override { return ignored(); }
  bool number_unsigned(uint64_t) override { return ignored(); }
  bool number_float(double, const std::string&) override { return ignored(); }
  bool start_array(size_t) override { return ++depth, ignored(); }
  bool end_array() override { return --depth, true; }
  bool start_object(size_t) override { return ++depth, depth == 2 || ignored(); }
  bool end_object() override {
    if (--depth == 1) in_map = false;
    return true;
  }

  bool key(std::string& text) override {
    if (depth == 1) {
      in_map = text == "weight_map";
      if (in_map && has_map) return refuse("'weight_map' is there twice");
      has_map |= in_map;
      return true;
    }
    if (!in_map) return true;
    if (text.empty() || text.size() > kMaxNameBytes || pairs.size() == kSafetensorsMaxTensors) {
      return refuse("'weight_map' has a name that is empty or too long, or too many of them");
    }
    pairs.emplace_back(text, std::string());
    return true;
  }

  bool string(std::string& text) override {
    if (!in_map) return true;
    if (depth != 2 || text.size() > 255) return refuse("'weight_map' names a file that is no file name");
    pairs.back().second = text;
    return true;
  }
};

Status run(std::string_view json, Handler& handler, const std::string& file, std::string_view what) {
  if (const auto problem = check_json_limits(json); !problem.empty()) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: {} {}", file, what, problem)};
  }
  if (!Json::sax_parse(json.begin(), json.end(), &handler)) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: {} is malformed: {}", file, what, handler.problem)};
  }
  return {};
}

}  // namespace

Result<std::vector<SafetensorsHeaderEntry>> parse_safetensors_header(std::string_view json, const std::string& file) {
  HeaderHandler handler;
  CARAT_CHECK(run(json, handler, file, "the safetensors header"));
  return std::move(handler.entries);
}

Result<std::vector<std::pair<std::string, std::string>>> parse_safetensors_index(std::string_view json,
                                                                                 const std::string& file) {
  IndexHandler handler;
  CARAT_CHECK(run(json, handler, file, "the index"));
  if (!handler.has_map) return Error{ErrorCode::kCorruptFile, file + ": the index has no 'weight_map'"};
  return std::move(handler.pairs);
}

}  // namespace carat
