#include "store/json_access.h"

#include <fmt/format.h>

namespace carat {

Result<Json> parse_json(std::string_view text, std::string_view where, const JsonLimits& limits) {
  if (const std::string_view wrong = check_json_limits(text, limits); !wrong.empty()) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: {}", where, wrong)};
  }
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Error{ErrorCode::kCorruptFile, fmt::format("{}: it is not valid JSON", where)};
  return json;
}

const Json* json_find(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

std::string json_text(const Json& object, const char* key) {
  const Json* value = json_find(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

std::optional<uint64_t> json_count(const Json& object, const char* key) {
  const Json* value = json_find(object, key);
  if (value == nullptr || !value->is_number_unsigned()) return std::nullopt;
  return value->get<uint64_t>();
}

const Json* json_list(const Json& object, const char* key) {
  const Json* value = json_find(object, key);
  return value != nullptr && value->is_array() ? value : nullptr;
}

Json json_value(const std::string& text) {
  const Json value = check_json_limits(text).empty() ? Json::parse(text, nullptr, false) : Json();
  const bool is_plain = !value.is_discarded() && (value.is_number() || value.is_boolean());
  return is_plain && value.dump() == text ? value : Json(text);
}

std::string json_line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace carat
