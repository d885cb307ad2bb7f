#include "server/tools.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/entropy.h"
#include "server/tool_requests.h"
#include "store/json_access.h"

namespace carat::server {
namespace {

Error invalid(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= 256 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.' || c == ':' || c == '/';
  });
}

// References of a schema that now lies at `root` in another: "#/$defs/x" becomes root + "/$defs/x".
void move_references(Json& schema, const std::string& root) {
  if (schema.is_array()) {
    for (Json& item : schema) move_references(item, root);
  } else if (schema.is_object()) {
    for (auto& [key, value] : schema.items()) {
      if (key == "const" || key == "enum" || key == "default" || key == "examples") continue;
      if (key == "$ref" && value.is_string() && value.get_ref<const std::string&>().starts_with('#')) {
        value = root + value.get<std::string>().substr(1);
      } else {
        move_references(value, root);
      }
    }
  }
}

// {"name": "get_weather", "parameters": {...}}
Json call_schema(const OfferedTools::Function& function, bool enforced, const std::string& root) {
  Json arguments = enforced ? read_json(function.schema).value : Json{{"type", "object"}};
  move_references(arguments, root + "/properties/parameters");
  return {{"type", "object"},
          {"properties", {{"name", {{"const", function.name}}}, {"parameters", std::move(arguments)}}},
          {"required", {"name", "parameters"}},
          {"additionalProperties", false}};
}

}  // namespace

Status read_tools(const Json& list, OfferedTools& out) {
  if (!list.is_array()) return invalid("tools: expected a list");
  if (list.size() > kMostTools) return invalid(fmt::format("more than {} tools", kMostTools));
  Json told = Json::array();
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& tool = list[i];
    if (!tool.is_object()) return invalid(fmt::format("tools[{}]: expected an object", i));
    const std::string type = json_text(tool, "type");
    if (!type.empty() && type != "function" && type != "custom") {
      return invalid(fmt::format("tools[{}].type: \"{}\" is not there, only functions are", i, type));
    }
    const Json* inner = member(tool, "function");
    const Json& holder = inner != nullptr && inner->is_object() ? *inner : tool;
    OfferedTools::Function function;
    function.name = json_text(holder, "name");
    if (!is_name(function.name)) {
      return invalid(fmt::format("tools[{}]: a function needs a name of letters, digits and _-.:/", i));
    }
    for (const OfferedTools::Function& other : out.functions) {
      if (other.name == function.name)
        return invalid(fmt::format("tools[{}]: there are two functions \"{}\"", i, function.name));
    }
    const Json* schema = member(holder, "parameters");
    if (schema == nullptr) schema = member(holder, "input_schema");
    if (schema != nullptr && !schema->is_object())
      return invalid(fmt::format("tools[{}].parameters: expected an object", i));
    const Json arguments = schema != nullptr ? *schema : Json{{"type", "object"}, {"properties", Json::object()}};
    function.schema = arguments.dump();
    const Json* strict = member(holder, "strict");
    function.strict = strict != nullptr && *strict == true;
    Json shown{{"name", function.name}};
    function.description = json_text(holder, "description");
    if (!function.description.empty()) shown["description"] = function.description;
    shown["parameters"] = arguments;
    told.push_back({{"type", "function"}, {"function", std::move(shown)}});
    out.functions.push_back(std::move(function));
  }
  if (!out.functions.empty()) out.told = told.dump(4);
  return {};
}

Status read_tool_choice(const Json* choice, OfferedTools& out) {
  using Choice = OfferedTools::Choice;
  if (choice == nullptr || choice->is_null()) {
    out.choice = out.functions.empty() ? Choice::kNone : Choice::kAuto;
    return {};
  }
  if (choice->is_object()) {
    const Json* disable = member(*choice, "disable_parallel_tool_use");
    if (disable != nullptr && *disable == true) out.parallel = false;
  }
  const std::string word = choice->is_string() ? choice->get<std::string>() : json_text(*choice, "type");
  if (word == "none") {
    out.choice = Choice::kNone;
  } else if (word == "auto") {
    out.choice = out.functions.empty() ? Choice::kNone : Choice::kAuto;
  } else if (word == "required" || word == "any") {
    out.choice = Choice::kRequired;
  } else if (choice->is_object() && (word == "function" || word == "tool")) {
    const Json* inner = member(*choice, "function");
    out.named = json_text(inner != nullptr ? *inner : *choice, "name");
    out.choice = Choice::kNamed;
    const auto is_it = [&](const OfferedTools::Function& function) { return function.name == out.named; };
    if (std::none_of(out.functions.begin(), out.functions.end(), is_it)) {
      return invalid("The tool specified in `tool_choice` does not match any of the specified `tools`");
    }
  } else {
    return invalid("tool_choice: expected \"none\", \"auto\", \"required\" or a function");
  }
  if (out.choice == Choice::kRequired && out.functions.empty()) {
    return invalid("When using `tool_choice`, `tools` must be set.");
  }
  return {};
}

bool OfferedTools::enforces(const std::optional<Shape>& asked) const {
  if (!may_be_called()) return false;
  return choice != Choice::kAuto || (asked && asked->kind == GrammarKind::kJsonSchema) ||
         std::any_of(functions.begin(), functions.end(), [](const Function& function) { return function.strict; });
}

Result<std::optional<Shape>> OfferedTools::shape(const std::optional<Shape>& asked) const {
  if (!enforces(asked)) return asked;
  const bool may_say = choice == Choice::kAuto;  // what it likes, or what was asked for
  if (may_say && asked && asked->kind != GrammarKind::kJsonSchema) {
    return invalid(
        "strict functions can stand beside a JSON schema only: \"tool_choice\" none or required says which is wanted");
  }
  Json options{{"whitespace_flexible", false}, {"item_separator", ", "}, {"key_separator", ": "}};
  if (choice == Choice::kNamed) {
    const auto it =
        std::find_if(functions.begin(), functions.end(), [&](const Function& f) { return f.name == named; });
    Json arguments = read_json(it->schema).value;
    if (!arguments.contains("x-guidance")) arguments["x-guidance"] = std::move(options);
    return std::optional<Shape>({GrammarKind::kJsonSchema, arguments.dump()});
  }
  const std::string root = may_say && asked ? "#/anyOf/0" : "#";
  Json calls = Json::array();
  for (const Function& function : functions) {
    calls.push_back(
        call_schema(function, !may_say || function.strict, fmt::format("{}/items/anyOf/{}", root, calls.size())));
  }
  Json schema{{"type", "array"}, {"minItems", 1}, {"items", {{"anyOf", std::move(calls)}}}};
  if (!parallel) schema["maxItems"] = 1;
  if (may_say && asked) {
    JsonText other = read_json(asked->text);
    if (!other.ok) return invalid("the schema is no JSON");
    if (other.value.is_object() && other.value.contains("x-guidance")) options = other.value["x-guidance"];
    move_references(other.value, "#/anyOf/1");
    schema = {{"anyOf", {std::move(schema), std::move(other.value)}}};
  }
  schema["x-guidance"] = std::move(options);
  return std::optional<Shape>(
      {may_say && !asked ? GrammarKind::kTextOrSchema : GrammarKind::kJsonSchema, schema.dump()});
}

std::string OfferedTools::answer_begins() const {
  return may_be_called() && choice == Choice::kNamed ? fmt::format(R"([{{"name": "{}", "parameters":)", named) : "";
}

chat::Tools OfferedTools::prompt(const std::optional<Shape>& asked) const {
  if (!may_be_called()) return {};
  return {told, enforces(asked) ? chat::Tools::Form::kJson : chat::Tools::Form::kPython};
}

std::unique_ptr<chat::ToolScanner> OfferedTools::scanner(const std::optional<Shape>& asked, bool marked) const {
  if (!may_be_called()) return nullptr;
  using Calls = chat::ToolScanner::Calls;
  if (choice == Choice::kNamed)
    return std::make_unique<chat::ToolScanner>(std::vector<std::string>{named}, Calls::kNamed);
  std::vector<std::string> names;
  for (const Function& function : functions) names.push_back(function.name);
  const Calls how = enforces(asked) ? Calls::kEnforced : marked ? Calls::kMarked : Calls::kMayCome;
  return std::make_unique<chat::ToolScanner>(std::move(names), how, parallel ? SIZE_MAX : 1);
}

std::string OfferedTools::responses_json() const {
  Json list = Json::array();
  for (const Function& function : functions) {
    list.push_back({{"type", "function"},
                    {"name", function.name},
                    {"description", function.description.empty() ? Json() : Json(function.description)},
                    {"parameters", read_json(function.schema).value},
                    {"strict", function.strict}});
  }
  return list.dump();
}

Result<ToolCall> tool_call_of(std::string id, std::string name, const Json& arguments) {
  ToolCall call{std::move(id), std::move(name), {}};
  if (!is_name(call.name)) return invalid("a tool call needs the name of its function");
  if (arguments.is_null()) return call;
  const Json* object = &arguments;
  JsonText read;
  if (arguments.is_string()) {
    const auto& text = arguments.get_ref<const std::string&>();
    if (text.empty()) return call;
    read = read_json(text);
    object = &read.value;
    if (!read.ok) return invalid(fmt::format("the arguments of a call of {} are no JSON", call.name));
  }
  if (!object->is_object()) return invalid(fmt::format("the arguments of a call of {} are no object", call.name));
  for (const auto& [key, value] : object->items()) call.arguments.emplace_back(key, value.dump());
  return call;
}

Result<ToolCall> read_tool_call(const Json& json) {
  if (!json.is_object()) return invalid("a tool call must be an object");
  const Json* inner = member(json, "function");
  if (inner == nullptr || !inner->is_object()) return invalid("a tool call needs a function");
  const Json* arguments = member(*inner, "arguments");
  return tool_call_of(json_text(json, "id"), json_text(*inner, "name"), arguments != nullptr ? *arguments : Json());
}

std::string random_call_id(std::string_view prefix, size_t length) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string id(prefix);
  for (size_t i = 0; i < length; ++i) id += kLetters[unguessable_bits() % kLetters.size()];
  return id;
}

}  // namespace carat::server
