#include "chat/prompt_format.h"

#include <fmt/format.h>

#include "store/gemma_template.h"

namespace carat::chat {
namespace {

Error unknown_template(std::string_view which) {
  return {ErrorCode::kUnsupported,
          fmt::format(
              "{} is not one that Carat knows: --raw completes text without it, --template gemma, --template chatml "
              "or --template 'Question: {{{{ .Prompt }}}}' says how to ask",
              which)};
}

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
      return unknown_template("the model's template");
    }
    text.remove_prefix(close + 2);
  }
}

// Whether fill_template knows all of it, and has a place for what is asked.
Status check_template(std::string_view text) {
  CARAT_TRY(const std::string filled, fill_template(text, "\x01", ""));
  if (filled.find('\x01') == std::string::npos) return unknown_template("the model's template");
  return {};
}

std::string text_of(const ChatMessage& message) {
  std::string text;
  for (const ChatPart& part : message.parts) text += part.text;
  return text;
}

}  // namespace

Result<std::optional<KnownTemplate>> known_template_of(const OpenModel& model) {
  const auto with_bos = [&](KnownTemplate known) {
    // A GGUF's tokenizer begins every text with <bos>, whatever the template says; Hugging Face's templates say it.
    if (!model.file.vocabulary.pieces.empty() && model.file.config.adds_bos) known.style.begins_with_bos = true;
    return std::optional<KnownTemplate>(std::move(known));
  };
  if (const auto& text = model.resolved.prompt_template) {
    if (auto known = recognise_template(*text)) return with_bos(std::move(*known));
    if (is_gemma_template(*text)) return with_bos({"Gemma 3's", {}});
    CARAT_CHECK(check_template(*text));
    return std::optional<KnownTemplate>();
  }
  if (!model.file.chat_template.empty()) {
    auto known = recognise_template(model.file.chat_template);
    if (!known) return unknown_template("the chat template of this model");
    return with_bos(std::move(*known));
  }
  if (model.file.has_chat_template) return with_bos({"Gemma 3's", {}});
  return std::optional<KnownTemplate>();
}

Result<PromptFormat> PromptFormat::of(const OpenModel& model, bool raw, const std::optional<std::string>& forced) {
  PromptFormat format;
  format.adds_bos_ = model.file.config.adds_bos;
  if (raw) return format;
  if (!forced) {
    CARAT_TRY(const auto known, known_template_of(model));
    if (known) {
      format.kind_ = Kind::kChat;
      format.style_ = known->style;
    } else if (model.resolved.prompt_template) {
      format.kind_ = Kind::kTemplate;
      format.template_ = *model.resolved.prompt_template;
    }
    return format;
  }
  if (*forced == "gemma" || *forced == "chatml") {
    format.kind_ = Kind::kChat;
    if (*forced == "chatml") format.style_.turns = ChatStyle::Turns::kChatML;
    return format;
  }
  if (auto made = of_template(*forced); made.ok()) {
    made->adds_bos_ = format.adds_bos_;
    return made;
  }
  return Error{ErrorCode::kInvalidArgument,
               "--template takes gemma, chatml, or a text with {{ .Prompt }} (and perhaps {{ .System }}) in it"};
}

Result<PromptFormat> PromptFormat::of_template(std::string text) {
  PromptFormat format;
  if (const auto known = recognise_template(text)) {
    format.kind_ = Kind::kChat;
    format.style_ = known->style;
    return format;
  }
  if (is_gemma_template(text)) {
    format.kind_ = Kind::kChat;
    return format;
  }
  CARAT_CHECK(check_template(text));
  format.kind_ = Kind::kTemplate;
  format.template_ = std::move(text);
  return format;
}

Result<std::vector<int32_t>> PromptFormat::encode(const Tokenizer& tokenizer, int32_t bos_id,
                                                  const std::vector<ChatMessage>& messages, bool first) const {
  if (kind_ == Kind::kChat) {
    ChatStyle style = style_;
    style.begins_with_bos &= first;
    if (!first) style.default_system.clear();
    return encode_chat(tokenizer, messages, true, style);
  }
  for (const ChatMessage& message : messages) {
    for (const ChatPart& part : message.parts) {
      if (part.kind != ChatPart::Kind::kImage) continue;
      return Error{ErrorCode::kUnsupported, "pictures need a model that knows Gemma's chat template"};
    }
  }
  CARAT_TRY(const std::string text, render_text(messages));
  std::vector<int32_t> ids;
  if (first && adds_bos_) ids.push_back(bos_id);
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
