#include "chat/prompt_format.h"

#include <fmt/format.h>

#include "store/gemma_template.h"

namespace carat::chat {
namespace {

// The template with its variables in; an error if it holds anything but .Prompt and .System.
Result<std::string> fill_template(std::string_view text, std::string_view prompt, std::string_view system) {
  std::string filled;
  while (true) {
    const size_t open = text.find("{{");
    filled += text.substr(0, open);
    if (open == std::string_view::npos) return filled;
    const size_t close = text.find("}}", open);
    const auto name = close == std::string_view::npos ? std::string_view()
                                                      : strip_whitespace(text.substr(open + 2, close - open - 2));
    if (name == ".Prompt") {
      filled += prompt;
    } else if (name == ".System") {
      filled += system;
    } else {
      return Error{
          ErrorCode::kUnsupported,
          fmt::format("the model's template holds {{{{{}, and only {{{{ .Prompt }}}} and {{{{ .System }}}} are known",
                      text.substr(open + 2, std::min<size_t>(40, text.size() - open - 2)))};
    }
    text.remove_prefix(close + 2);
  }
}

std::string text_of(const ChatMessage& message) {
  std::string text;
  for (const ChatPart& part : message.parts) text += part.text;
  return text;
}

}  // namespace

Result<PromptFormat> PromptFormat::of(const OpenModel& model, bool raw) {
  PromptFormat format;
  if (raw) return format;
  if (model.resolved.prompt_template) {
    return of_template(*model.resolved.prompt_template);
  }
  if (model.file.has_chat_template) format.kind_ = Kind::kChat;
  return format;
}

Result<PromptFormat> PromptFormat::of_template(std::string text) {
  PromptFormat format;
  if (is_gemma_template(text)) {
    format.kind_ = Kind::kChat;
    return format;
  }
  CARAT_TRY(const std::string filled, fill_template(text, "", ""));
  format.kind_ = Kind::kTemplate;
  format.template_ = std::move(text);
  return format;
}

Result<std::vector<int32_t>> PromptFormat::encode(const Tokenizer& tokenizer, int32_t bos_id,
                                                  const std::vector<ChatMessage>& messages) const {
  if (kind_ == Kind::kChat) return encode_chat(tokenizer, messages, true);
  CARAT_TRY(const std::string text, render_text(messages));
  std::vector<int32_t> ids{bos_id};
  const std::vector<int32_t> encoded = tokenizer.encode(text);
  ids.insert(ids.end(), encoded.begin(), encoded.end());
  return ids;
}

Result<std::string> PromptFormat::render_text(const std::vector<ChatMessage>& messages) const {
  std::string text, system;
  bool system_is_placed = false;
  for (const ChatMessage& message : messages) {
    if (message.role == "system") {
      if (kind_ == Kind::kPlain) {
        return Error{ErrorCode::kInvalidArgument,
                     "plain completion has no place for a system text: put it into the prompt"};
      }
      system = text_of(message);
      system_is_placed = template_.find(".System") != std::string::npos;
      if (!system_is_placed && !system.empty()) text += system + "\n\n";
    } else if (message.role == "user") {
      if (kind_ == Kind::kPlain) {
        text += text_of(message);
        continue;
      }
      CARAT_TRY(const std::string filled, fill_template(template_, text_of(message), system));
      text += filled;
    } else {
      const std::string answer = text_of(message);
      if (kind_ == Kind::kTemplate && !answer.starts_with(' ')) text += ' ';
      text += answer;
      if (kind_ == Kind::kTemplate && !answer.ends_with('\n')) text += '\n';
    }
  }
  return text;
}

}  // namespace carat::chat
