#include "cli/json_text.h"

#include "cli/input.h"
#include "formats/json_guard.h"

namespace carat::cli {

Result<nlohmann::ordered_json> parse_json(std::string_view text) {
  if (const std::string_view wrong = check_json_limits(text, {.depth = 16, .token_bytes = kMostPromptBytes});
      !wrong.empty()) {
    return Error{ErrorCode::kInvalidArgument, "the JSON " + std::string(wrong)};
  }
  auto json = nlohmann::ordered_json::parse(text, nullptr, false);
  if (json.is_discarded()) return Error{ErrorCode::kInvalidArgument, "not JSON"};
  return json;
}

nlohmann::ordered_json json_or_null(std::string_view text) {
  auto json = parse_json(text);
  return json.ok() ? std::move(*json) : nlohmann::ordered_json();
}

std::string json_text(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace carat::cli
