#include "model/json_fields.h"

#include <fmt/format.h>

#include <limits>

#include "base/file_map.h"
#include "formats/json_guard.h"

namespace carat {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;
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
  return std::optional<float>(static_cast<float>(value->get<double>()));
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

Result<nlohmann::json> read_json_object(const std::string& path) {
  CARAT_TRY(const FileMap map, FileMap::open(path));
  if (map.bytes().size() > kMaxFileBytes) {
    return Error{ErrorCode::kCorruptFile,
                 fmt::format("{}: {} bytes, expected at most 1 MiB", path, map.bytes().size())};
  }
  const std::string_view text = text_of(map);
  if (const std::string_view problem = check_json_limits(text); !problem.empty()) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: {}", path, problem)};
  }
  nlohmann::json json = nlohmann::json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Error{ErrorCode::kCorruptFile, fmt::format("{}: expected a JSON object", path)};
  return json;
}

bool json_object_has(const std::string& path, std::string_view key) {
  const Result<FileMap> map = FileMap::open(path);
  if (!map.ok()) return false;
  const std::string_view text = text_of(*map);
  if (!check_json_limits(text).empty()) return false;
  bool found = false;
  const auto drop_everything = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    if (depth == 1 && event == nlohmann::json::parse_event_t::key && parsed == key) found = true;
    return false;
  };
  const auto rest = nlohmann::json::parse(text.begin(), text.end(), drop_everything, /*allow_exceptions=*/false);
  return found && !rest.is_discarded();  // what the callback drops becomes null; an error is "discarded"
}

}  // namespace carat
