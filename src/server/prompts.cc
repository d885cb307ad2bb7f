#include "server/prompts.h"

#include <fmt/format.h>

#include <cstring>
#include <iterator>

#include "server/marked_turns.h"

namespace carat::server {
namespace {

// The parts of `from` behind those of `to`; two texts that meet become one, with an empty line in between.
void append(ChatMessage& to, ChatMessage from) {
  auto next = from.parts.begin();
  if (next != from.parts.end() && !to.parts.empty() && next->kind == ChatPart::Kind::kText &&
      to.parts.back().kind == ChatPart::Kind::kText) {
    to.parts.back().text += "\n\n" + next->text;
    ++next;
  }
  to.parts.insert(to.parts.end(), std::make_move_iterator(next), std::make_move_iterator(from.parts.end()));
}

// A base model that only completes has no place for a system text: it stands before everything else.
std::vector<ChatMessage> without_system(std::vector<ChatMessage> messages) {
  if (messages.size() < 2 || messages.front().role != "system") return messages;
  const std::string system = text_of(messages.front());
  messages.erase(messages.begin());
  if (!system.empty()) {
    ChatMessage first = ChatMessage::of_text(messages.front().role, system);
    append(first, std::move(messages.front()));
    messages.front() = std::move(first);
  }
  return messages;
}

}  // namespace

std::string text_of(const ChatMessage& message) {
  std::string text;
  for (const ChatPart& part : message.parts) text += part.text;
  return text;
}

TokenRules rules_of(const ServedModel& model, std::vector<int32_t> only, const std::vector<std::string>& bad_words) {
  TokenRules rules{std::move(only), {}};
  for (const std::string& word : bad_words) {
    const std::string text = word.substr(std::min(word.find_first_not_of(' '), word.size()));
    std::vector<int32_t> plain = model.tokenizer->encode(text), after_space = model.tokenizer->encode(" " + text);
    const bool is_another = after_space.size() == plain.size() && after_space.front() != plain.front();
    rules.barred.push_back(std::move(plain));
    if (is_another) rules.barred.push_back(std::move(after_space));
  }
  return rules;
}

uint64_t cache_salt(const HttpRequest& request, std::string_view salt) {
  const bool has_key = request.account.size() == 64;  // a digest
  if (!has_key && salt.empty()) return 0;
  const Digest digest = sha256((has_key ? request.account : std::string()) + "/" + std::string(salt));
  uint64_t out = 0;
  std::memcpy(&out, digest.bytes.data(), sizeof out);
  return out;
}

Result<std::vector<ChatMessage>> with_tools(const ServedModel& model, std::vector<ChatMessage> messages,
                                            const OfferedTools& tools, const std::optional<Shape>& asked) {
  const bool knows_turns = model.format.kind() == chat::PromptFormat::Kind::kChat && !model.refuses_chat;
  if (tools.may_be_called() && !knows_turns) {
    const auto name = ModelName::parse(model.name);
    const std::string full =
        name ? fmt::format("{}/{}/{}:{}", name->host, name->space, name->model, name->tag) : model.name;
    return Error{ErrorCode::kInvalidArgument, full + " does not support tools"};
  }
  if (model.format.marks_calls())
    return with_marked_turns(std::move(messages), tools.may_be_called() ? tools.told : std::string());
  return chat::with_tool_turns(std::move(messages), tools.prompt(asked));
}

std::vector<ChatMessage> collated(std::vector<ChatMessage> messages) {
  std::vector<ChatMessage> out;
  for (ChatMessage& message : messages) {
    if (!out.empty() && out.back().role == message.role) {
      append(out.back(), std::move(message));
    } else {
      out.push_back(std::move(message));
    }
  }
  return out;
}

Result<std::vector<int32_t>> encode_chat_prompt(const ServedModel& model, const chat::PromptFormat& format,
                                                const ChatPrompt& prompt) {
  using Kind = chat::PromptFormat::Kind;
  const Tokenizer& tokenizer = *model.tokenizer;
  if (prompt.messages.empty()) return Error{ErrorCode::kInvalidArgument, "messages: expected at least one"};
  if (model.refuses_chat && &format == &model.format) return *model.refuses_chat;
  if (format.kind() == Kind::kPlain) {
    return format.encode(tokenizer, model.config().bos_id, without_system(prompt.messages));
  }
  if (format.kind() != Kind::kChat) return format.encode(tokenizer, model.config().bos_id, prompt.messages);
  CARAT_TRY(std::vector<ChatSpan> spans,
            render_chat_spans(prompt.messages, prompt.add_generation_prompt && !prompt.continue_final, format.style()));
  const std::string_view closing = format.closing();
  if (prompt.continue_final && spans.back().text.ends_with(closing)) {
    spans.back().text.resize(spans.back().text.size() - closing.size());
  }
  if (!prompt.continue_final && !prompt.answer_begins.empty()) spans.push_back({prompt.answer_begins, false});
  std::vector<TextSpan> views;
  views.reserve(spans.size());
  for (const ChatSpan& span : spans) views.push_back({span.text, span.may_be_control});
  return tokenizer.encode(views);
}

std::vector<int32_t> encode_text_prompt(const ServedModel& model, std::string_view text, bool add_bos) {
  std::vector<int32_t> ids = model.tokenizer->encode_with_control(text);
  if (add_bos && model.config().adds_bos) ids.insert(ids.begin(), model.config().bos_id);
  return ids;
}

}  // namespace carat::server
