// The fields that a request's parser knows, noted while it reads a body: /openapi.json names what the parser reads of an
// empty object, so the two cannot differ.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace carat::server {

struct KnownField {
  std::string name;
  std::string schema;  // JSON schema, as text; "{}": any value
  bool required = false;
};

// While it lives, what this thread's parsers look for at the top of a body is noted.
class FieldNotes {
 public:
  FieldNotes();
  ~FieldNotes();
  FieldNotes(const FieldNotes&) = delete;
  FieldNotes& operator=(const FieldNotes&) = delete;

  const std::vector<KnownField>& fields() const { return fields_; }

 private:
  friend void note_field(std::string_view name, std::string_view schema);
  friend void note_required(std::string_view name);
  KnownField& at(std::string_view name);

  std::vector<KnownField> fields_;
};

// For parsers. A schema that says something replaces one that does not.
void note_field(std::string_view name, std::string_view schema);
void note_required(std::string_view name);

namespace schema {
inline constexpr std::string_view kAny = "{}";
inline constexpr std::string_view kText = R"({"type":"string"})";
inline constexpr std::string_view kFlag = R"({"type":"boolean"})";
inline constexpr std::string_view kInteger = R"({"type":"integer"})";
inline constexpr std::string_view kNumber = R"({"type":"number"})";
inline constexpr std::string_view kTexts =
    R"({"anyOf":[{"type":"string"},{"type":"array","items":{"type":"string"}}]})";
inline constexpr std::string_view kIds = R"({"type":"array","items":{"type":"integer"}})";
inline constexpr std::string_view kList = R"({"type":"array"})";
inline constexpr std::string_view kObject = R"({"type":"object"})";
}  // namespace schema

}  // namespace carat::server
