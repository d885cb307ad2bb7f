// JSON from outside as the store reads it: bounded before it is parsed (formats/json_guard.h), and then each field by its
// type, so that nothing throws whatever stands there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "formats/json_guard.h"

namespace carat {

using Json = nlohmann::ordered_json;  // parameters and messages keep their order

// `where` begins the message of an error. Error: kCorruptFile (beyond the limits, or no JSON).
Result<Json> parse_json(std::string_view text, std::string_view where, const JsonLimits& limits = {});

// A member of an object: null where `object` is none, or has none of that name.
const Json* json_find(const Json& object, const char* key);
std::string json_text(const Json& object, const char* key);  // "" if it is no text
std::optional<uint64_t> json_count(const Json& object, const char* key);
const Json* json_list(const Json& object, const char* key);  // null if it is no list

// A text as the value that it looks like: 0.7, true, or the text itself.
Json json_value(const std::string& text);
// In one line; bytes that are no UTF-8 become U+FFFD, so what is written is always JSON.
std::string json_line(const Json& json);

}  // namespace carat
