// How a conversation becomes token ids, which depends on the model: instruction-tuned ones know Gemma's chat template;
// a base model may come with a question/answer template of its manifest; any other base model just goes on with the
// text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/open_model.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/template_kind.h"
#include "tokenizer/tokenizer.h"

namespace carat::chat {

class PromptFormat {
 public:
  enum class Kind {
    kChat,      // turns: Gemma's, or another known template's
    kTemplate,  // the manifest's text around each question, in Ollama's notation: {{ .Prompt }}, {{ .System }}
    kPlain,     // completes the text as it is
  };

  // `raw`: plain, whatever the model knows. `forced`, instead of what the model brings: "gemma", "chatml", or a text with
  // {{ .Prompt }}. Errors: kUnsupported, a template that is not known; kInvalidArgument, a `forced` that is none of these.
  static Result<PromptFormat> of(const OpenModel& model, bool raw, const std::optional<std::string>& forced = {});

  // Another template than the model's own. Errors: as `of`.
  static Result<PromptFormat> of_template(std::string text);

  Kind kind() const { return kind_; }
  // After a template's "Answer:" a model begins with a space that nobody wants to see.
  bool trims_leading_space() const { return kind_ == Kind::kTemplate; }
  // The template has a place for the system text beside every question; elsewhere it stands before the first one.
  bool repeats_system() const { return template_.find(".System") != std::string::npos; }

  // The ids of the whole conversation, ending where the model's next answer begins. messages: an optional "system", then
  // "user" and "assistant" in turns, the last one a user's. `first`: with what only a conversation's beginning has: <bos>,
  // and the system text of a template that brings one.
  // Errors: kInvalidArgument (no message, roles out of order, a system text where there is no place for one).
  Result<std::vector<int32_t>> encode(const Tokenizer& tokenizer, int32_t bos_id,
                                      const std::vector<ChatMessage>& messages, bool first = true) const;

  // Of kChat.
  const ChatStyle& style() const { return style_; }
  // Functions stand between FunctionGemma's marks.
  bool marks_calls() const { return kind_ == Kind::kChat && style_.turns == ChatStyle::Turns::kFunctionGemma; }

  // What closes an answer of kChat, in control tokens.
  std::string_view closing() const {
    return style_.turns == ChatStyle::Turns::kChatML ? "<|im_end|>\n" : "<end_of_turn>\n";
  }

  // The text of kTemplate and kPlain.
  Result<std::string> render_text(const std::vector<ChatMessage>& messages) const;

 private:
  Kind kind_ = Kind::kPlain;
  std::string template_;
  ChatStyle style_;
  bool adds_bos_ = true;  // kTemplate and kPlain
};

// The known template that a model brings: its manifest's, its file's, or Gemma's for an instruction-tuned one without.
// Nothing for a base model, and for a manifest's simple text. Errors: kUnsupported, a template that is not known.
Result<std::optional<KnownTemplate>> known_template_of(const OpenModel& model);

}  // namespace carat::chat
