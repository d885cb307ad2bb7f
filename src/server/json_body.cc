#include "server/json_body.h"

#include <fmt/format.h>

#include <set>

#include "formats/json_guard.h"

namespace carat::server {
namespace {

// Builds the value with nlohmann's parser; refuses what its own rules let pass.
class Limited {
 public:
  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= kMaxJsonDepth) fault = JsonFault::Kind::kTooDeep, failed = true;
      if (event == Event::object_start) keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) fault = JsonFault::Kind::kDoubleKey, failed = true, name = key;
    }
    return true;
  }

  bool failed = false;
  JsonFault::Kind fault = JsonFault::Kind::kSyntax;
  std::string name;

 private:
  std::vector<std::set<std::string>> keys_;
};

// Nesting and number of values before anything is built: a parser may recurse, this does not, and a value takes more memory than its
// text. Empty, or what is too much.
std::string too_much(std::string_view body) {
  int depth = 0, commas = 0;
  bool in_string = false;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxJsonDepth) return fmt::format("more than {} levels of nesting", kMaxJsonDepth);
    } else if (c == ',') {
      if (++commas > kMaxJsonValues) return fmt::format("more than {} values", kMaxJsonValues);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return {};
}

}  // namespace

JsonText read_json(std::string_view body) {
  JsonText text;
  if (std::string what = too_much(body); !what.empty()) {
    text.fault = {JsonFault::Kind::kTooDeep, 0, std::move(what)};
    return text;
  }
  if (body.starts_with("\xEF\xBB\xBF")) {
    text.fault = {JsonFault::Kind::kSyntax, 0, "a byte order mark before the value"};
    return text;
  }
  // An object that keeps its order takes time quadratic in its keys.
  constexpr JsonLimits kLimits{kMaxJsonDepth, size_t{64} << 20, 1024, 8192};
  if (const auto problem = check_json_limits(body, kLimits); !problem.empty()) {
    text.fault = {JsonFault::Kind::kTooDeep, 0, std::string(problem)};
    return text;
  }
  Limited limited;
  try {
    text.value = Json::parse(body.begin(), body.end(), std::ref(limited));
    text.ok = !limited.failed;
    if (limited.failed) text.fault = {limited.fault, 0, fmt::format("the key \"{}\" stands there twice", limited.name)};
  } catch (const Json::parse_error& error) {
    const size_t at = error.byte == 0 ? 0 : error.byte - 1;
    const bool ended = at >= body.size();
    text.fault = {ended ? JsonFault::Kind::kEnd : JsonFault::Kind::kSyntax, std::min(at, body.size()),
                  ended ? "unexpected end of the text" : "not JSON"};
  } catch (const Json::exception&) {
    text.fault = {JsonFault::Kind::kNumber, 0, "a number that is out of range"};
  }
  return text;
}

const Json* member(const Json& object, const char* name) {
  const auto it = object.find(name);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

const char* go_type(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return "bool";
    case Json::value_t::string:
      return "string";
    case Json::value_t::array:
      return "array";
    case Json::value_t::object:
      return "object";
    default:
      return "number";
  }
}

}  // namespace carat::server
