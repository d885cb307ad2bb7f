// JSON in and out of the command line: what comes in passes the guard, and what goes out cannot throw, whatever bytes
// the names of files hold.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace carat::cli {

// Errors: kInvalidArgument: not JSON, or nested or long beyond any use.
Result<nlohmann::ordered_json> parse_json(std::string_view text);

// The same for what a server answers, of which only some is wanted: null where it is no JSON.
nlohmann::ordered_json json_or_null(std::string_view text);

// Bytes that are no UTF-8 become U+FFFD. `indent` -1: on one line.
std::string json_text(const nlohmann::ordered_json& json, int indent = -1);

}  // namespace carat::cli
