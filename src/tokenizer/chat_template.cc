#include "tokenizer/chat_template.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.h"

namespace carat {
namespace {

constexpr std::string_view kMustAlternate = "Conversation roles must alternate user/assistant/user/assistant/...";
constexpr std::string_view kEndOfResult = "<end_function_response>";

Error invalid(std::string what) { return {ErrorCode::kInvalidArgument, std::move(what)}; }

// What str.isspace() says in Python.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

// Keeps a run of text of one kind in one span.
class Spans {
 public:
  void add(std::string_view text, bool may_be_control) {
    if (text.empty()) return;
    if (spans_.empty() || spans_.back().may_be_control != may_be_control) spans_.push_back({{}, may_be_control});
    spans_.back().text += text;
  }
  void marker(std::string_view text) { add(text, true); }
  void typed(std::string_view text) { add(text, false); }
  std::vector<ChatSpan> take() { return std::move(spans_); }

 private:
  std::vector<ChatSpan> spans_;
};

Result<std::string_view> turn_name(std::string_view role, size_t index) {
  if (role == "user") return std::string_view("user");
  if (role == "assistant" || role == "model") return std::string_view("model");
  if (role == "system") {
    return invalid(fmt::format("messages[{}].role: \"system\" may only be the first message", index));
  }
  return invalid(fmt::format("messages[{}].role: expected \"system\", \"user\" or \"assistant\"", index));
}

}  // namespace

std::string_view strip_whitespace(std::string_view text) {
  char32_t code = 0;
  while (!text.empty()) {
    const size_t length = read_utf8(text, 0, code);
    if (length == 0 || !is_space(code)) break;
    text.remove_prefix(length);
  }
  while (!text.empty()) {
    size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
    if (read_utf8(text, begin, code) != text.size() - begin || !is_space(code)) break;
    text.remove_suffix(text.size() - begin);
  }
  return text;
}

namespace {

Result<std::vector<ChatSpan>> render_chatml(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                            const ChatStyle& style) {
  Spans spans;
  if (style.begins_with_bos) spans.marker("<bos>");
  const auto turn = [&](std::string_view role, std::string_view text) {
    spans.marker("<|im_start|>");
    spans.marker(role);
    spans.marker("\n");
    spans.typed(text);
    spans.marker("<|im_end|>\n");
  };
  if (!style.default_system.empty() && messages.front().role != "system") turn("system", style.default_system);
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant" && role != "model") {
      return invalid(fmt::format("messages[{}].role: expected \"system\", \"user\" or \"assistant\"", i));
    }
    std::string text;
    for (const ChatPart& part : messages[i].parts) {
      if (part.kind == ChatPart::Kind::kImage) return invalid("the model's chat template has no place for an image");
      text += part.text;
    }
    turn(role == "model" ? "assistant" : role, text);
  }
  if (add_generation_prompt) spans.marker("<|im_start|>assistant\n");
  return spans.take();
}

Result<std::vector<ChatSpan>> render_function_gemma(const std::vector<ChatMessage>& messages,
                                                    bool add_generation_prompt, const ChatStyle& style) {
  Spans spans;
  if (style.begins_with_bos) spans.marker("<bos>");
  bool is_open = false;
  for (size_t i = 0; i < messages.size(); ++i) {
    std::string_view name = "developer";
    if (i > 0 || messages[i].role != "system") {
      CARAT_TRY(name, turn_name(messages[i].role, i));
    }
    spans.marker("<start_of_turn>");
    spans.marker(name);
    spans.marker("\n");
    const std::vector<ChatPart>& parts = messages[i].parts;
    const bool has_marks = std::any_of(parts.begin(), parts.end(),
                                       [](const ChatPart& part) { return part.kind == ChatPart::Kind::kMark; });
    for (const ChatPart& part : parts) {
      if (part.kind == ChatPart::Kind::kImage) return invalid("the model's chat template has no place for an image");
      if (part.kind == ChatPart::Kind::kMark) {
        spans.marker(part.text);
      } else {
        spans.typed(has_marks ? std::string_view(part.text) : strip_whitespace(part.text));
      }
    }
    is_open = i + 1 == messages.size() && name == "model" && has_marks && parts.back().kind == ChatPart::Kind::kMark &&
              parts.back().text.ends_with(kEndOfResult);
    if (!is_open) spans.marker("<end_of_turn>\n");
  }
  if (add_generation_prompt && !is_open) spans.marker("<start_of_turn>model\n");
  return spans.take();
}

}  // namespace

Result<std::vector<ChatSpan>> render_chat_spans(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                                const ChatStyle& style) {
  if (messages.empty()) return invalid("messages: expected at least one");
  if (style.turns == ChatStyle::Turns::kChatML) return render_chatml(messages, add_generation_prompt, style);
  if (style.turns == ChatStyle::Turns::kFunctionGemma)
    return render_function_gemma(messages, add_generation_prompt, style);
  const bool has_system = messages.front().role == "system";
  if (has_system && !style.takes_system) return invalid("System role not supported");
  Spans spans;
  if (style.begins_with_bos) spans.marker("<bos>");
  if (has_system && style.system_is_a_turn) {
    spans.marker("<start_of_turn>user\n");
    for (const ChatPart& part : messages.front().parts) spans.typed(part.text);
    spans.marker("<end_of_turn>\n");
  }
  for (size_t i = has_system ? 1 : 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    const bool first = i == (has_system ? 1U : 0U);
    const bool users_turn = (i - (has_system ? 1 : 0)) % 2 == 0;
    if ((message.role == "user") != users_turn) return invalid(std::string(kMustAlternate));
    CARAT_TRY(const std::string_view name, turn_name(message.role, i));
    spans.marker("<start_of_turn>");
    spans.marker(name);
    spans.marker("\n");
    if (first && has_system && !style.system_is_a_turn) {
      const std::vector<ChatPart>& parts = messages.front().parts;
      if (!parts.empty()) spans.typed(parts.front().text);
      spans.typed("\n\n");
    }
    for (const ChatPart& part : message.parts) {
      if (part.kind == ChatPart::Kind::kImage) {
        spans.marker(part.text.empty() ? "<start_of_image>" : std::string_view(part.text));
      } else {
        spans.typed(strip_whitespace(part.text));
      }
    }
    spans.marker("<end_of_turn>\n");
  }
  if (add_generation_prompt) spans.marker("<start_of_turn>model\n");
  return spans.take();
}

Result<std::string> render_chat(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                const ChatStyle& style) {
  CARAT_TRY(const auto spans, render_chat_spans(messages, add_generation_prompt, style));
  std::string text;
  for (const ChatSpan& span : spans) text += span.text;
  return text;
}

Result<std::vector<int32_t>> encode_chat(const Tokenizer& tokenizer, const std::vector<ChatMessage>& messages,
                                         bool add_generation_prompt, const ChatStyle& style) {
  if (style.turns != ChatStyle::Turns::kChatML) {
    for (const std::string_view marker : {"<start_of_turn>", "<end_of_turn>"}) {
      if (tokenizer.is_control(tokenizer.id_of(marker))) continue;
      return Error{ErrorCode::kUnsupported,
                   fmt::format("the model's vocabulary has no token {}: it cannot hold a conversation", marker)};
    }
  }
  CARAT_TRY(const auto spans, render_chat_spans(messages, add_generation_prompt, style));
  const std::vector<TextSpan> views = [&] {
    std::vector<TextSpan> made;
    for (const ChatSpan& span : spans) made.push_back({span.text, span.may_be_control});
    return made;
  }();
  return tokenizer.encode(views);
}

std::vector<std::string> stop_texts(const ChatStyle& style) {
  if (style.turns == ChatStyle::Turns::kChatML) return {"<|im_end|>"};
  return {};
}

}  // namespace carat
