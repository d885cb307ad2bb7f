// Typed, range-checked access to one JSON object of a model directory's file. A field that is absent or null is "not
// there"; one of a wrong type or range is an error that names the file and the field's whole path.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace carat {

class JsonFields {
 public:
  // `object` must outlive this. `where`: "config.json", "config.json: text_config".
  JsonFields(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}

  bool has(const char* key) const { return find(key) != nullptr; }
  const std::string& where() const { return where_; }

  Result<std::optional<int32_t>> integer(const char* key) const;
  Result<std::optional<float>> number(const char* key) const;
  Result<std::optional<std::string>> text(const char* key) const;
  Result<bool> flag(const char* key, bool absent) const;
  // One integer, or an array of at most 64 of them; empty where absent.
  Result<std::vector<int32_t>> integers(const char* key) const;
  // An array of at most `limit` strings; empty where absent.
  Result<std::vector<std::string>> texts(const char* key, size_t limit) const;
  Result<std::optional<JsonFields>> object(const char* key) const;

  Result<int32_t> required_integer(const char* key) const;
  Result<int32_t> integer_or(const char* key, int32_t absent) const;
  Result<float> number_or(const char* key, float absent) const;

  // Every field that is not null is one of these: for objects in which an unknown one would change the arithmetic.
  Status only(std::initializer_list<std::string_view> known) const;

  // "config.json: FIELD is VALUE, expected WHAT"
  Error unexpected(const char* key, const std::string& expected) const;

 private:
  const nlohmann::json* find(const char* key) const;

  const nlohmann::json& object_;
  std::string where_;
};

// Reads a JSON object from a small file. Errors: kNotFound, kIo, kCorruptFile (not JSON, not an object, above 1 MiB,
// beyond the limits of json_guard.h).
Result<nlohmann::json> read_json_object(const std::string& path);

// Only the named members of the file's outermost object, of a file of at most 16 MiB: the rest is skipped, and never
// held in memory. Errors as read_json_object.
Result<nlohmann::json> read_json_members(const std::string& path, const std::set<std::string>& wanted);

}  // namespace carat
