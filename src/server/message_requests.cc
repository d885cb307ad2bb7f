#include "server/message_requests.h"

#include <fmt/format.h>

#include "server/tool_requests.h"
#include "store/json_access.h"

namespace carat::server {

namespace {

// A picture in the shapes of OpenAI's chat, of its Responses, and of Anthropic.
Result<PictureSource> read_picture(const Json& part) {
  const Error expected{ErrorCode::kInvalidArgument, "a picture: expected an image_url, or a source of base64 or a url"};
  if (const auto source = part.find("source"); source != part.end()) {
    const std::string type = json_text(*source, "type");
    if (type == "base64") return picture_of_base64(json_text(*source, "data"));
    if (type == "url") return picture_of_url(json_text(*source, "url"));
    return expected;
  }
  const auto url = part.find("image_url");
  if (url == part.end()) return expected;
  if (url->is_string()) return picture_of_url(url->get_ref<const std::string&>());
  if (!url->is_object() || !url->contains("url") || !(*url)["url"].is_string()) return expected;
  return picture_of_url((*url)["url"].get_ref<const std::string&>());
}

}  // namespace

void read_content(const Json& content, ChatMessage& message, std::vector<PictureSource>& pictures, Fields& fields) {
  if (content.is_string()) {
    message.parts.push_back({ChatPart::Kind::kText, content.get<std::string>()});
    return;
  }
  if (content.is_null()) return;
  if (!content.is_array()) return fields.wrong("content", "string_type", "Input should be a valid string", content);
  for (const Json& part : content) {
    if (part.is_string()) {
      message.parts.push_back({ChatPart::Kind::kText, part.get<std::string>()});
      continue;
    }
    const std::string type = json_text(part, "type");
    if (type == "image_url" || type == "image" || type == "input_image") {
      auto picture = read_picture(part);
      if (!picture.ok()) return fields.rule("content", picture.error().message);
      pictures.push_back(std::move(*picture));
      message.parts.push_back({ChatPart::Kind::kImage, ""});
    } else if (type == "text" || type == "input_text" || type == "output_text") {
      Fields inner(part, "'messages', 'content', ");
      std::string text;
      inner.text("text", text);
      fields.merge(inner);
      message.parts.push_back({ChatPart::Kind::kText, std::move(text)});
    } else if (type == "tool_use" || type == "tool_result") {
      continue;  // read_tool_parts
    } else {
      fields.wrong("content", "value_error", fmt::format("Unknown part type: {}", type), part);
    }
  }
}

namespace {

// What came of a call: a message of its own. Its function is known by the id of the call.
ChatMessage tool_result(const std::vector<ChatMessage>& before, const std::string& id, std::string text) {
  ChatMessage message = ChatMessage::of_text("tool", std::move(text));
  for (const ChatMessage& earlier : before) {
    for (const ToolCall& call : earlier.tool_calls) {
      if (call.id == id) message.tool_name = call.name;
    }
  }
  return message;
}

// Calls beside the others of the same turn.
void add_call(const Result<ToolCall>& call, std::vector<ChatMessage>& out, Fields& fields) {
  if (!call) return fields.rule("messages", call.error().message);
  if (out.empty() || out.back().role != "assistant") out.push_back({"assistant", {}});
  out.back().tool_calls.push_back(*call);
}

std::string said(const ChatMessage& message) {
  std::string text;
  for (const ChatPart& part : message.parts) text += part.text;
  return text;
}

// What a tool returned.
void read_texts(const Json& content, ChatMessage& message, Fields& fields) {
  std::vector<PictureSource> pictures;
  read_content(content, message, pictures, fields);
  if (!pictures.empty()) fields.rule("content", "the result of a tool holds a picture: only texts are taken");
}

// Responses' items that are no messages. False: it is one.
bool read_item(const Json& json, std::vector<ChatMessage>& out, Fields& fields) {
  const std::string type = json_text(json, "type");
  if (type == "function_call") {
    add_call(tool_call_of(json_text(json, "call_id"), json_text(json, "name"), json.value("arguments", Json())), out,
             fields);
  } else if (type == "function_call_output") {
    const Json output = json.value("output", Json());
    ChatMessage read;
    read_texts(output, read, fields);
    out.push_back(tool_result(out, json_text(json, "call_id"), said(read)));
  } else {
    return false;
  }
  return true;
}

// Anthropic's parts that are calls of the model, and results in a user's turn, which stand before its text.
void read_tool_parts(const Json& content, ChatMessage& message, std::vector<ChatMessage>& out, Fields& fields) {
  for (const Json& part : content) {
    const std::string type = json_text(part, "type");
    if (type == "tool_use") {
      Result<ToolCall> call = tool_call_of(json_text(part, "id"), json_text(part, "name"), part.value("input", Json()));
      if (!call) return fields.rule("messages", call.error().message);
      message.tool_calls.push_back(std::move(*call));
    } else if (type == "tool_result") {
      ChatMessage read;
      read_texts(part.value("content", Json()), read, fields);
      const bool failed = part.contains("is_error") && part["is_error"] == true;
      out.push_back(tool_result(out, json_text(part, "tool_use_id"), (failed ? "error: " : "") + said(read)));
    }
  }
}

}  // namespace

void read_messages(Fields& fields, const Json* list, std::vector<ChatMessage>& out,
                   std::vector<PictureSource>& pictures) {
  if (list == nullptr) return;
  for (size_t i = 0; i < list->size(); ++i) {
    const Json& json = (*list)[i];
    if (!json.is_object()) {
      fields.wrong("messages", "dict_type", "Input should be a valid dictionary", json);
      return;
    }
    Fields inner(json, fmt::format("'messages', {}, ", i));
    if (read_item(json, out, inner)) {
      fields.merge(inner);
      continue;
    }
    ChatMessage message;
    if (inner.find("role") == nullptr) inner.missing("role");
    inner.text("role", message.role);
    if (message.role == "developer") message.role = "system";
    if (const Json* content = inner.find("content")) read_content(*content, message, pictures, inner);
    if (const Json* content = inner.find("content"); content != nullptr && content->is_array()) {
      read_tool_parts(*content, message, out, inner);
    }
    if (const Json* calls = inner.list("tool_calls", false)) {
      for (const Json& json_call : *calls) {
        Result<ToolCall> call = read_tool_call(json_call);
        if (call)
          message.tool_calls.push_back(std::move(*call));
        else
          inner.rule("messages", call.error().message);
      }
    }
    if (message.role == "tool") message = tool_result(out, json_text(json, "tool_call_id"), said(message));
    fields.merge(inner);
    // Anthropic's user who only hands over results says nothing.
    if (message.parts.empty() && message.role == "user" && !out.empty() && out.back().role == "tool") continue;
    out.push_back(std::move(message));
  }
}

}  // namespace carat::server
