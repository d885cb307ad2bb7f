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
inline constexpr int kMaxJsonValues = 400'000;  // more than the ids of a dozen longest prompts

// Where and why a text is not JSON, in terms that both APIs can put into their own words.
struct JsonFault {
  enum class Kind { kEnd, kSyntax, kTooDeep /* or too much of it */, kDoubleKey, kNumber, kUtf8 };
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

// What an object has under that name; null for nothing, for null, and for what is no object.
const Json* member(const Json& object, const char* name);

// "null", "bool", "number", "string", "array", "object": Go's words for what a value is.
const char* go_type(const Json& value);

}  // namespace carat::server
