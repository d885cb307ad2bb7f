// A request's body as JSON, hostile until checked: nesting, double keys, numbers and text are limited before anybody
// looks at a field. Whoever reads fields includes this, and so nlohmann/json: the files that make typed requests.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace carat::server {

using Json = nlohmann::ordered_json;

inline constexpr int kMaxJsonDepth = 64;

// Where and why a text is not JSON, in terms that both APIs can put into their own words.
struct JsonFault {
  enum class Kind { kEnd, kSyntax, kTooDeep, kDoubleKey, kNumber, kUtf8 };
  Kind kind = Kind::kSyntax;
  size_t at = 0;     // the byte
  std::string what;  // for people
};

struct JsonText {
  Json value;
  bool ok = false;
  JsonFault fault;
};

JsonText read_json(std::string_view body);

// "null", "bool", "number", "string", "array", "object": Go's words for what a value is.
const char* go_type(const Json& value);

}  // namespace carat::server
