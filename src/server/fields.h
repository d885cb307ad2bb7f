// Reads the fields of a JSON object as vLLM's models do, and says what is wrong in its words: a list of findings, each
// with its place, as Python prints them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/errors.h"
#include "server/json_body.h"

namespace carat::server {

// The value as Python's repr() writes it.
std::string python_repr(const Json& value);

class Fields {
 public:
  explicit Fields(const Json& object, std::string where = "") : object_(object), where_(std::move(where)) {}

  const Json* find(const char* name) const;  // null: absent, or null
  // Of a field that asks for what is not there: an error where it does (false, 0 and {} ask for nothing).
  void refuse(const char* name, const std::string& message);

  void text(const char* name, std::string& out);
  void text(const char* name, std::optional<std::string>& out);
  void flag(const char* name, bool& out);
  void integer(const char* name, std::optional<int64_t>& out);
  void integer(const char* name, int32_t& out);
  void number(const char* name, std::optional<double>& out);
  void number(const char* name, std::optional<float>& out);
  void texts(const char* name, std::vector<std::string>& out);  // one, or a list
  void ids(const char* name, std::vector<int32_t>& out);
  const Json* list(const char* name, bool required);
  const Json* object(const char* name);

  void wrong(const char* name, const char* type, const std::string& message, const Json& input);
  void missing(const char* name);
  // A rule over several fields: "Value error, ...".
  void rule(const char* parameter, const std::string& message);
  // Takes over what the reader of an inner object found.
  void merge(const Fields& inner);

  bool ok() const { return findings_.empty(); }
  OpenAiError error() const;

 private:
  std::string place(const char* name) const;
  const Json* look(const char* name, std::string_view schema) const;

  const Json& object_;
  const std::string where_;  // "'messages', 0, "
  std::vector<std::string> findings_;
  std::string parameter_;
};

// The body as an object. Errors as vLLM or Ollama word them.
struct OpenAiBody {
  Json json;
  std::optional<OpenAiError> error;
};
OpenAiBody read_openai_body(Flavor flavor, const std::string& body);

}  // namespace carat::server
