#include "chat/tool_turns.h"

#include <fmt/format.h>

namespace carat::chat {
namespace {

// vLLM's examples/tool_chat_template_gemma3_pythonic.jinja, word for word.
constexpr std::string_view kPythonForm =
    "Tools (functions) are available. If you decide to invoke one or more of the tools, you must respond with a python "
    "list of the "
    "function calls.\n"
    "Example Format: [func_name1(params_name1=params_value1, params_name2=params_value2...), func_name2(params)] \n"
    "Do not use variables. DO NOT USE MARKDOWN SYNTAX. You SHOULD NOT include any other text in the response if you "
    "call a function. If "
    "none of the functions can be used, point it out. If you lack the parameters required by the function, also point "
    "it out.\n"
    "Here is a list of functions in JSON format that you can invoke.\n";
// ai.google.dev/gemma/docs/capabilities/function-calling, for a list.
constexpr std::string_view kJsonForm =
    "You have access to functions. If you decide to invoke any of the function(s), you MUST put it in the format of\n"
    "[{\"name\": function name, \"parameters\": dictionary of argument name and its value}]\n\n"
    "You SHOULD NOT include any other text in the response if you call a function\n";

// A part of its own at the end of a message that may hold pictures.
void append(ChatMessage& to, ChatMessage message) {
  for (ChatPart& part : message.parts) {
    const bool both_text = part.kind == ChatPart::Kind::kText && !to.parts.empty() && to.parts.back().kind == part.kind;
    if (both_text) {
      to.parts.back().text += "\n" + part.text;
    } else {
      to.parts.push_back(std::move(part));
    }
  }
}

std::string text_of(const ChatMessage& message) {
  std::string text;
  for (const ChatPart& part : message.parts) text += part.text;
  return text;
}

}  // namespace

std::string calls_as_python(const std::vector<ToolCall>& calls) {
  std::string text = "[";
  for (const ToolCall& call : calls) {
    if (text.size() > 1) text += ", ";
    text += call.name + '(';
    for (size_t i = 0; i < call.arguments.size(); ++i) {
      if (i > 0) text += ", ";
      text += call.arguments[i].first + '=' + call.arguments[i].second;
    }
    text += ')';
  }
  return text + ']';
}

std::vector<ChatMessage> with_tool_turns(std::vector<ChatMessage> messages, const Tools& tools) {
  std::vector<ChatMessage> out;
  bool after_result = false;
  for (ChatMessage& message : messages) {
    const bool is_result = message.role == "tool";
    if (is_result)
      message = ChatMessage::of_text("user", fmt::format("<tool_response>\n{}</tool_response>", text_of(message)));
    if (!message.tool_calls.empty()) {
      const std::string said = text_of(message);
      message =
          ChatMessage::of_text(message.role, (said.empty() ? "" : said + "\n") + calls_as_python(message.tool_calls));
    }
    if (!out.empty() && out.back().role == "user" && message.role == "user" && (is_result || after_result)) {
      append(out.back(), std::move(message));
    } else {
      out.push_back(std::move(message));
    }
    after_result = is_result;
  }
  if (tools.json.empty()) return out;
  std::string told(tools.form == Tools::Form::kPython ? kPythonForm : kJsonForm);
  told += tools.json;
  if (!out.empty() && out.front().role == "system") {
    out.front() = ChatMessage::of_text("system", text_of(out.front()) + "\n\n" + told);
  } else {
    out.insert(out.begin(), ChatMessage::of_text("system", std::move(told)));
  }
  return out;
}

}  // namespace carat::chat
