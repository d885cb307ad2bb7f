#include "server/marked_turns.h"

#include <algorithm>
#include <utility>

#include "chat/marked_calls.h"
#include "server/json_body.h"
#include "store/json_access.h"

namespace carat::server {
namespace {

using namespace chat;  // the marks

// Text and marks, in the order in which they are written.
class Parts {
 public:
  explicit Parts(std::vector<ChatPart>& parts) : parts_(parts) {}

  void text(std::string_view text) { add(ChatPart::Kind::kText, text); }
  void mark(std::string_view mark) { add(ChatPart::Kind::kMark, mark); }
  void quoted(std::string_view text) {
    mark(kEscape);
    this->text(text);
    mark(kEscape);
  }
  void value(const Json& value) {
    if (value.is_string()) return quoted(value.get_ref<const std::string&>());
    if (value.is_object()) return object(value);
    if (!value.is_array()) return text(value.dump());
    text("[");
    for (size_t i = 0; i < value.size(); ++i) {
      if (i > 0) text(",");
      this->value(value[i]);
    }
    text("]");
  }
  void object(const Json& object) {
    text("{");
    members(object);
    text("}");
  }
  void members(const Json& object) {
    bool first = true;
    for (const auto& [key, member] : by_name(object)) {
      text((std::exchange(first, false) ? "" : ",") + key + ":");
      value(*member);
    }
  }

  // {"city": {"type": "string", "description": "..."}}: of each what Google's template shows.
  void properties(const Json& properties) {
    text("properties:{");
    bool first = true;
    for (const auto& [name, schema] : by_name(properties)) {
      text((std::exchange(first, false) ? "" : ",") + name + ":{description:");
      quoted(json_text(*schema, "description"));
      if (const Json* choices = member(*schema, "enum")) {
        text(",enum:");
        value(*choices);
      }
      if (const Json* items = member(*schema, "items"); items != nullptr && items->is_object()) {
        text(",items:{");
        inner(*items, false);
        text("}");
      }
      inner(*schema, true);
      text("}");
    }
    text("}");
  }

  // What a schema has of "properties", "required" and "type". `after`: something stands before them.
  void inner(const Json& schema, bool after) {
    const auto comma = [&] { text(std::exchange(after, true) ? "," : ""); };
    const Json* inside = member(schema, "properties");
    if (inside != nullptr && inside->is_object() && !inside->empty()) {
      comma();
      properties(*inside);
    }
    if (const Json* required = member(schema, "required"); required != nullptr && !required->empty()) {
      comma();
      text("required:");
      value(*required);
    }
    if (const Json* type = member(schema, "type")) {
      comma();
      text("type:");
      value(in_capitals(*type));
    }
  }

 private:
  void add(ChatPart::Kind kind, std::string_view text) {
    if (text.empty()) return;
    if (parts_.empty() || parts_.back().kind != kind) parts_.push_back({kind, {}});
    parts_.back().text += text;
  }
  // As Jinja's dictsort: capitals do not count.
  static std::vector<std::pair<std::string, const Json*>> by_name(const Json& object) {
    std::vector<std::pair<std::string, const Json*>> all;
    for (const auto& [key, value] : object.items()) all.emplace_back(key, &value);
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) {
      return std::lexicographical_compare(a.first.begin(), a.first.end(), b.first.begin(), b.first.end(),
                                          [&](char x, char y) { return lower(x) < lower(y); });
    });
    return all;
  }
  static Json in_capitals(Json type) {
    if (type.is_array()) {
      for (Json& one : type) one = in_capitals(std::move(one));
    } else if (type.is_string()) {
      for (char& c : type.get_ref<std::string&>()) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    return type;
  }

  std::vector<ChatPart>& parts_;
};

std::string text_of(const ChatMessage& message) {
  std::string text;
  for (const ChatPart& part : message.parts) text += part.text;
  return text;
}

// declaration:get_weather{description:<escape>...<escape>,parameters:{...}}
void declare(Parts& parts, const Json& function) {
  parts.mark(kStartDeclaration);
  parts.text("declaration:" + json_text(function, "name") + "{description:");
  parts.quoted(json_text(function, "description"));
  if (const Json* parameters = member(function, "parameters"); parameters != nullptr && parameters->is_object()) {
    parts.text(",parameters:{");
    parts.inner(*parameters, false);
    parts.text("}");
  }
  parts.text("}");
  parts.mark(kEndDeclaration);
}

void write_call(Parts& parts, ToolCall call) {
  std::sort(call.arguments.begin(), call.arguments.end());
  parts.mark(kStartCall);
  parts.text("call:" + call.name + "{");
  for (size_t i = 0; i < call.arguments.size(); ++i) {
    parts.text((i > 0 ? "," : "") + call.arguments[i].first + ":");
    parts.value(read_json(call.arguments[i].second).value);
  }
  parts.text("}");
  parts.mark(kEndCall);
}

void write_result(Parts& parts, const std::string& name, const ChatMessage& result) {
  parts.mark(kStartResponse);
  parts.text("response:" + name + "{");
  const std::string text = text_of(result);
  if (const JsonText read = read_json(text); read.ok && read.value.is_object()) {
    parts.members(read.value);
  } else {
    parts.text("value:");
    parts.quoted(text);
  }
  parts.text("}");
  parts.mark(kEndResponse);
}

bool has_marks(const ChatMessage& message) {
  return std::any_of(message.parts.begin(), message.parts.end(),
                     [](const ChatPart& part) { return part.kind == ChatPart::Kind::kMark; });
}

}  // namespace

std::vector<ChatMessage> with_marked_turns(std::vector<ChatMessage> messages, std::string_view functions) {
  std::vector<ChatMessage> out;
  size_t next = 0;
  if (!functions.empty()) {
    ChatMessage developer{"system", {}};
    std::string said;
    if (!messages.empty() && messages.front().role == "system") {
      said = strip_whitespace(text_of(messages.front()));
      next = 1;
    }
    if (said.find(kMayCall) == std::string::npos) said += (said.empty() ? "" : "\n") + std::string(kMayCall);
    Parts parts(developer.parts);
    parts.text(said);
    for (const Json& tool : read_json(functions).value) declare(parts, tool.at("function"));
    out.push_back(std::move(developer));
  }
  std::vector<std::string> called;  // and not answered yet: a result that does not say whose it is belongs to the first
  for (; next < messages.size(); ++next) {
    ChatMessage& message = messages[next];
    const bool goes_on = !out.empty() && out.back().role == "assistant" && has_marks(out.back());
    if (message.role == "tool") {
      if (!goes_on) out.push_back({"assistant", {}});
      Parts parts(out.back().parts);
      auto whose = std::find(called.begin(), called.end(), message.tool_name);
      if (message.tool_name.empty()) whose = called.begin();
      write_result(parts, whose == called.end() ? message.tool_name : *whose, message);
      if (whose != called.end()) called.erase(whose);
    } else if (message.role == "assistant" && (goes_on || !message.tool_calls.empty())) {
      if (!goes_on) out.push_back({"assistant", {}});
      Parts parts(out.back().parts);
      parts.text(strip_whitespace(text_of(message)));
      called.clear();
      for (ToolCall& call : message.tool_calls) {
        called.push_back(call.name);
        write_call(parts, std::move(call));
      }
    } else {
      out.push_back(std::move(message));
    }
  }
  return out;
}

}  // namespace carat::server
