#include "model/json_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/file_map.h"
#include "formats/gguf.h"
#include "formats/json_guard.h"

namespace carat {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr size_t kMaxTokenizerConfigBytes = size_t{16} << 20;  // Gemma 3's is 1.2 MB
constexpr size_t kMaxIntegers = 64;

// JSON has one kind of number: 4096.0 is an integer too.
std::optional<int32_t> to_int32(const nlohmann::json& value) {
  if (!value.is_number()) return std::nullopt;
  const double number = value.get<double>();
  if (!(number >= std::numeric_limits<int32_t>::min() && number <= std::numeric_limits<int32_t>::max())) {
    return std::nullopt;
  }
  const auto integer = static_cast<int32_t>(number);
  if (static_cast<double>(integer) != number) return std::nullopt;
  return integer;
}

std::string_view text_of(const FileMap& map) {
  return {reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size()};
}

}  // namespace

const nlohmann::json* JsonFields::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

Error JsonFields::unexpected(const char* key, const std::string& expected) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr)
    return {ErrorCode::kCorruptFile, fmt::format("{}: {} is missing, expected {}", where_, key, expected)};
  std::string shown = value->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (shown.size() > 60) shown = shown.substr(0, 57) + "...";
  return {ErrorCode::kCorruptFile, fmt::format("{}: {} is {}, expected {}", where_, key, shown, expected)};
}

Result<std::optional<int32_t>> JsonFields::integer(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::optional<int32_t>();
  const std::optional<int32_t> integer = to_int32(*value);
  if (!integer) return unexpected(key, "a 32-bit integer");
  return integer;
}

Result<std::optional<float>> JsonFields::number(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::optional<float>();
  if (!value->is_number()) return unexpected(key, "a number");
  const auto wide = value->get<double>();
  if (!(std::abs(wide) <= double{std::numeric_limits<float>::max()})) return unexpected(key, "a smaller number");
  return std::optional<float>(static_cast<float>(wide));
}

Result<std::optional<std::string>> JsonFields::text(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::optional<std::string>();
  if (!value->is_string()) return unexpected(key, "a string");
  return std::optional<std::string>(value->get<std::string>());
}

Result<bool> JsonFields::flag(const char* key, bool absent) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return absent;
  if (!value->is_boolean()) return unexpected(key, "true or false");
  return value->get<bool>();
}

Result<std::vector<int32_t>> JsonFields::integers(const char* key) const {
  const nlohmann::json* value = find(key);
  std::vector<int32_t> result;
  if (value == nullptr) return result;
  if (!value->is_array()) {
    CARAT_TRY(const int32_t single, required_integer(key));
    result.push_back(single);
    return result;
  }
  if (value->size() > kMaxIntegers) return unexpected(key, fmt::format("at most {} integers", kMaxIntegers));
  for (const nlohmann::json& element : *value) {
    const std::optional<int32_t> integer = to_int32(element);
    if (!integer) return unexpected(key, "an integer or an array of integers");
    result.push_back(*integer);
  }
  return result;
}

Result<std::vector<std::string>> JsonFields::texts(const char* key, size_t limit) const {
  const nlohmann::json* value = find(key);
  std::vector<std::string> result;
  if (value == nullptr) return result;
  if (!value->is_array() || value->size() > limit)
    return unexpected(key, fmt::format("an array of at most {} strings", limit));
  for (const nlohmann::json& element : *value) {
    if (!element.is_string()) return unexpected(key, "an array of strings");
    result.push_back(element.get<std::string>());
  }
  return result;
}

Result<std::optional<JsonFields>> JsonFields::object(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::optional<JsonFields>();
  if (!value->is_object()) return unexpected(key, "an object");
  return std::optional<JsonFields>(JsonFields(*value, fmt::format("{}: {}", where_, key)));
}

Result<int32_t> JsonFields::required_integer(const char* key) const {
  CARAT_TRY(const std::optional<int32_t> value, integer(key));
  if (!value) return unexpected(key, "a 32-bit integer");
  return *value;
}

Result<int32_t> JsonFields::integer_or(const char* key, int32_t absent) const {
  CARAT_TRY(const std::optional<int32_t> value, integer(key));
  return value.value_or(absent);
}

Result<float> JsonFields::number_or(const char* key, float absent) const {
  CARAT_TRY(const std::optional<float> value, number(key));
  return value.value_or(absent);
}

Status JsonFields::only(std::initializer_list<std::string_view> known) const {
  for (const auto& [key, value] : object_.items()) {
    if (value.is_null() || std::find(known.begin(), known.end(), key) != known.end()) continue;
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("{}: {} is not known here, and may change what the model computes", where_, printable(key))};
  }
  return {};
}

namespace {

// What is kept of a file: everything, or only some members of the outermost object.
Result<nlohmann::json> parse_object(const std::string& path, size_t limit, const std::set<std::string>* wanted) {
  CARAT_TRY(const FileMap map, FileMap::open(path));
  if (map.bytes().size() > limit) {
    return Error{ErrorCode::kCorruptFile,
                 fmt::format("{}: {} bytes, expected at most {} MiB", path, map.bytes().size(), limit >> 20)};
  }
  const std::string_view text = text_of(map);
  if (const std::string_view problem = check_json_limits(text); !problem.empty()) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: {}", path, problem)};
  }
  const auto keep = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    return wanted == nullptr || depth != 1 || event != nlohmann::json::parse_event_t::key ||
           wanted->contains(parsed.get_ref<const std::string&>());
  };
  nlohmann::json json = nlohmann::json::parse(text.begin(), text.end(), keep, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Error{ErrorCode::kCorruptFile, fmt::format("{}: is not valid JSON", path)};
  if (!json.is_object()) return Error{ErrorCode::kCorruptFile, fmt::format("{}: expected a JSON object", path)};
  return json;
}

}  // namespace

Result<nlohmann::json> read_json_object(const std::string& path) { return parse_object(path, kMaxFileBytes, nullptr); }

Result<nlohmann::json> read_json_members(const std::string& path, const std::set<std::string>& wanted) {
  return parse_object(path, kMaxTokenizerConfigBytes, &wanted);
}

}  // namespace carat
