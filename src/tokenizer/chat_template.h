// Chat templates, natively: no template language runs, so no file and no request can bring a program. Gemma 3's, and
// ChatML, which fine-tunes bring (template_kind.h says which a file has).
//
//   <bos><start_of_turn>user\n{system}\n\n{user}<end_of_turn>\n<start_of_turn>model\n
//
// The template renders to spans, its own markers apart from what people and the model wrote, so that only the markers
// can become control tokens while tokens still form across the borders as they do in Hugging Face's rendering.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tokenizer/tokenizer.h"

namespace carat {

struct ChatPart {
  enum class Kind {
    kText,
    kImage,
    kMark,  // a control token of the template's own: only FunctionGemma's turns have any
  };
  Kind kind = Kind::kText;
  std::string text;  // of kText and kMark
};

// A function that the model called, with what each argument was, as JSON.
struct ToolCall {
  std::string id, name;
  std::vector<std::pair<std::string, std::string>> arguments;
};

struct ChatMessage {
  // "user", "assistant" (or "model"), and "system" for the first one; "tool" until chat/tool_turns.h has made turns of it
  std::string role;
  std::vector<ChatPart> parts;
  std::vector<ToolCall> tool_calls{};  // of an assistant
  std::string tool_name{};             // of "tool": which function gave this result

  static ChatMessage of_text(std::string role, std::string text) {
    return {std::move(role), {{ChatPart::Kind::kText, std::move(text)}}};
  }
};

struct ChatSpan {
  std::string text;
  bool may_be_control;
};

// What a known template asks for; as it is, Gemma 3's.
struct ChatStyle {
  enum class Turns { kGemma, kChatML, kFunctionGemma };
  Turns turns = Turns::kGemma;
  bool begins_with_bos = true;
  bool takes_system = true;       // Gemma 2's refuses a system text
  bool system_is_a_turn = false;  // Ollama's: a user's turn of its own, not the beginning of the first one
  std::string default_system{};   // ChatML: for conversations that bring none
};

// Gemma's turns: the system text (of the first message; its first part counts) goes before the first user turn. Texts
// of turns lose whitespace at both ends, as Python's strip does it; an image becomes <start_of_image>. ChatML's: every
// message is a turn, its text as it is. FunctionGemma's: a developer's turn for the system text; the text beside marks is as it is, and a
// model's turn that ends with the result of a call goes on.
// Errors: kInvalidArgument (no messages, an unknown role, roles that do not alternate, in Hugging Face's words; a
// system text or an image where there is no place for it).
Result<std::vector<ChatSpan>> render_chat_spans(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                                const ChatStyle& style = {});

// The same as one text.
Result<std::string> render_chat(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                const ChatStyle& style = {});

// The ids. Images are one <start_of_image> each, not yet expanded. Errors: those of render_chat_spans; kUnsupported, a
// vocabulary without Gemma's turns.
Result<std::vector<int32_t>> encode_chat(const Tokenizer& tokenizer, const std::vector<ChatMessage>& messages,
                                         bool add_generation_prompt, const ChatStyle& style = {});

// Texts that end an answer, beside the model's end tokens: the vocabulary need not have ChatML's as tokens.
std::vector<std::string> stop_texts(const ChatStyle& style);

// Text without the whitespace at both ends that Python's str.strip takes away.
std::string_view strip_whitespace(std::string_view text);

}  // namespace carat
