#include "server/fields.h"

#include <fmt/format.h>

#include <cmath>

#include "base/utf8.h"
#include "server/known_fields.h"

namespace carat::server {
namespace {

void append_repr(std::string& out, const std::string& text) {
  const bool single = text.find('\'') == std::string::npos || text.find('"') != std::string::npos;
  const char quote = single ? '\'' : '"';
  out += quote;
  for (const char c : text) {
    if (c == quote || c == '\\')
      (out += '\\') += c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  out += quote;
}

void append_repr(std::string& out, const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      out += "None";
      break;
    case Json::value_t::boolean:
      out += value.get<bool>() ? "True" : "False";
      break;
    case Json::value_t::string:
      append_repr(out, value.get_ref<const std::string&>());
      break;
    case Json::value_t::number_float: {
      const auto number = value.get<double>();
      out += number == std::floor(number) && std::abs(number) < 1e16 ? fmt::format("{:.1f}", number)
                                                                     : fmt::format("{}", number);
      break;
    }
    case Json::value_t::array: {
      out += '[';
      for (size_t i = 0; i < value.size(); ++i) {
        if (i != 0) out += ", ";
        append_repr(out, value[i]);
      }
      out += ']';
      break;
    }
    case Json::value_t::object: {
      out += '{';
      bool first = true;
      for (const auto& [key, inner] : value.items()) {
        if (!std::exchange(first, false)) out += ", ";
        append_repr(out, key);
        out += ": ";
        append_repr(out, inner);
      }
      out += '}';
      break;
    }
    default:
      out += value.dump();
  }
}

// What a client sent goes into an error's text, but not all of a large body.
std::string input_repr(const Json& value) {
  constexpr size_t kMost = 4096;
  std::string text = python_repr(value);
  if (text.size() > kMost) {
    size_t end = kMost;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text.resize(end);
    text += "...";
  }
  return text;
}

}  // namespace

std::string python_repr(const Json& value) {
  std::string out;
  append_repr(out, value);
  return out;
}

const Json* Fields::find(const char* name) const { return look(name, schema::kAny); }

const Json* Fields::look(const char* name, std::string_view schema) const {
  if (where_.empty()) note_field(name, schema);
  const auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void Fields::refuse(const char* name, const std::string& message) {
  const auto it = object_.find(name);
  if (it == object_.end() || it->is_null() || *it == false || *it == 0 || it->empty()) return;
  rule(name, message);
}

std::string Fields::place(const char* name) const { return fmt::format("('body', {}'{}')", where_, name); }

void Fields::wrong(const char* name, const char* type, const std::string& message, const Json& input) {
  std::string quoted;
  append_repr(quoted, message);
  findings_.push_back(
      fmt::format("{{'type': '{}', 'loc': {}, 'msg': {}, 'input': {}}}", type, place(name), quoted, input_repr(input)));
  if (parameter_.empty()) parameter_ = fmt::format("body.{}", name);
}

void Fields::missing(const char* name) {
  if (where_.empty()) note_required(name);
  wrong(name, "missing", "Field required", object_);
}

void Fields::rule(const char* parameter, const std::string& message) {
  const std::string suffix = *parameter == '\0' ? "" : fmt::format(" (parameter={})", parameter);
  findings_.push_back(fmt::format(
      "{{'type': 'value_error', 'loc': ('body',), 'msg': 'Value error, {}{}', 'input': {}, 'ctx': {{'error': "
      "VLLMValidationError('{}')}}}}",
      message, suffix, input_repr(object_), message));
  if (parameter_.empty()) parameter_ = parameter;
}

void Fields::merge(const Fields& inner) {
  findings_.insert(findings_.end(), inner.findings_.begin(), inner.findings_.end());
  if (parameter_.empty()) parameter_ = inner.parameter_;
}

OpenAiError Fields::error() const {
  std::string text = fmt::format("{} validation error{}:", findings_.size(), findings_.size() == 1 ? "" : "s");
  for (const std::string& finding : findings_) text += "\n  " + finding;
  return {400, std::move(text), parameter_, "Bad Request"};
}

void Fields::text(const char* name, std::string& out) {
  if (const Json* value = look(name, schema::kText)) {
    if (value->is_string())
      out = value->get<std::string>();
    else
      wrong(name, "string_type", "Input should be a valid string", *value);
  }
}

void Fields::text(const char* name, std::optional<std::string>& out) {
  if (look(name, schema::kText) == nullptr) return;
  out.emplace();
  text(name, *out);
}

void Fields::flag(const char* name, bool& out) {
  if (const Json* value = look(name, schema::kFlag)) {
    if (value->is_boolean())
      out = value->get<bool>();
    else
      wrong(name, "bool_type", "Input should be a valid boolean", *value);
  }
}

void Fields::integer(const char* name, std::optional<int64_t>& out) {
  const Json* value = look(name, schema::kInteger);
  if (value == nullptr) return;
  if (value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    wrong(name, "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size", *value);
  } else if (value->is_number_integer()) {
    out = value->get<int64_t>();
  } else if (value->is_number_float()) {
    const auto number = value->get<double>();
    if (number == std::floor(number) && std::abs(number) < 9e15)
      out = static_cast<int64_t>(number);
    else
      wrong(name, "int_from_float", "Input should be a valid integer, got a number with a fractional part", *value);
  } else if (value->is_string()) {
    wrong(name, "int_parsing", "Input should be a valid integer, unable to parse string as an integer", *value);
  } else {
    wrong(name, "int_type", "Input should be a valid integer", *value);
  }
}

void Fields::integer(const char* name, int32_t& out) {
  std::optional<int64_t> number;
  integer(name, number);
  if (!number) return;
  if (*number < INT32_MIN || *number > INT32_MAX) {
    wrong(name, "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size", *find(name));
  } else {
    out = static_cast<int32_t>(*number);
  }
}

void Fields::number(const char* name, std::optional<double>& out) {
  const Json* value = look(name, schema::kNumber);
  if (value == nullptr) return;
  if (value->is_number()) {
    out = value->get<double>();
  } else if (value->is_string()) {
    wrong(name, "float_parsing", "Input should be a valid number, unable to parse string as a number", *value);
  } else {
    wrong(name, "float_type", "Input should be a valid number", *value);
  }
}

void Fields::number(const char* name, std::optional<float>& out) {
  std::optional<double> wide;
  number(name, wide);
  if (wide) out = static_cast<float>(*wide);
}

void Fields::texts(const char* name, std::vector<std::string>& out) {
  const Json* value = look(name, schema::kTexts);
  if (value == nullptr) return;
  if (value->is_string()) {
    out.push_back(value->get<std::string>());
    return;
  }
  if (!value->is_array()) return wrong(name, "string_type", "Input should be a valid string", *value);
  for (const Json& text : *value) {
    if (!text.is_string()) return wrong(name, "string_type", "Input should be a valid string", text);
    out.push_back(text.get<std::string>());
  }
}

void Fields::ids(const char* name, std::vector<int32_t>& out) {
  if (where_.empty()) note_field(name, schema::kIds);
  const Json* value = list(name, false);
  if (value == nullptr) return;
  for (const Json& id : *value) {
    if (!id.is_number_integer()) return wrong(name, "int_type", "Input should be a valid integer", id);
    // Too large for any vocabulary: kept as what no vocabulary has.
    const auto number = id.is_number_unsigned()
                            ? static_cast<int64_t>(std::min<uint64_t>(id.get<uint64_t>(), INT32_MAX))
                            : id.get<int64_t>();
    out.push_back(static_cast<int32_t>(std::max<int64_t>(number, -1)));
  }
}

const Json* Fields::list(const char* name, bool required) {
  const Json* value = look(name, schema::kList);
  if (value == nullptr) {
    if (required) missing(name);
    return nullptr;
  }
  if (value->is_array()) return value;
  wrong(name, "list_type", "Input should be a valid list", *value);
  return nullptr;
}

const Json* Fields::object(const char* name) {
  const Json* value = look(name, schema::kObject);
  if (value == nullptr || value->is_object()) return value;
  wrong(name, "dict_type", "Input should be a valid dictionary", *value);
  return nullptr;
}

OpenAiBody read_openai_body(Flavor flavor, const std::string& body) {
  OpenAiBody out;
  JsonText text = read_json(body);
  if (text.ok && text.value.is_object()) {
    out.json = std::move(text.value);
    return out;
  }
  if (flavor == Flavor::kOllama) {
    const char* what = text.ok                                       ? "the request body must be a JSON object"
                       : body.empty()                                ? "missing request body"
                       : text.fault.kind == JsonFault::Kind::kEnd    ? "unexpected EOF"
                       : text.fault.kind == JsonFault::Kind::kSyntax ? "invalid character in the request body"
                                                                     : text.fault.what.c_str();
    out.error = OpenAiError{400, what, "", ""};
    return out;
  }
  if (text.ok) {
    out.error =
        OpenAiError{400,
                    fmt::format("1 validation error:\n  {{'type': 'model_attributes_type', 'loc': ('body',), 'msg': "
                                "'Input should be a valid dictionary or object to extract fields from', 'input': {}}}",
                                input_repr(text.value)),
                    "body", "Bad Request"};
    return out;
  }
  const bool ended = text.fault.kind == JsonFault::Kind::kEnd;
  const std::string_view trimmed = std::string_view(body).substr(0, body.find_last_not_of(" \t\r\n") + 1);
  const std::string why = ended && (trimmed.ends_with('{') || trimmed.ends_with(','))
                              ? "Expecting property name enclosed in double quotes"
                          : ended || text.fault.kind == JsonFault::Kind::kSyntax ? "Expecting value"
                                                                                 : text.fault.what;
  std::string quoted;
  append_repr(quoted, why);
  out.error =
      OpenAiError{400,
                  fmt::format("1 validation error:\n  {{'type': 'json_invalid', 'loc': ('body', {}), 'msg': 'JSON "
                              "decode error', 'input': {{}}, 'ctx': {{'error': {}}}}}",
                              text.fault.at, quoted),
                  fmt::format("body.{}", text.fault.at), "Bad Request"};
  return out;
}

}  // namespace carat::server
