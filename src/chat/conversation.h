// A conversation as the token ids that the model saw. Answers stay the ids that were sampled: their text, tokenised
// again, might fall into other tokens, and the KV cache of everything after would be lost.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/pictures.h"
#include "chat/prompt_format.h"
#include "store/manifest.h"
#include "tokenizer/tokenizer.h"

namespace carat::chat {

class Conversation {
 public:
  // The tokenizer must outlive it.
  Conversation(const Tokenizer& tokenizer, PromptFormat format, int32_t bos_id)
      : tokenizer_(&tokenizer), format_(std::move(format)), bos_id_(bos_id) {}

  // Pictures may be part of questions from now on.
  void sees(const VisionConfig& config) { vision_ = config; }

  // Opens a turn, which answer() fills until close() or abandon(). Errors: those of PromptFormat::encode; nothing is
  // added then.
  Status ask(std::string question, std::vector<PromptPicture> pictures = {});
  void answer(std::span<const int32_t> tokens);
  // `text` is what was shown of the answer: tokens after it (a stop text, an end token) are not kept.
  void close(std::string text);
  void abandon();

  // A saved conversation: questions and answers in turns. Errors: kInvalidArgument for any other order.
  Status restore(const std::vector<ManifestMessage>& messages);
  std::vector<ManifestMessage> messages() const;

  // Stands before the first question from now on (on an error nothing has changed); the KV cache is of no use to what follows it.
  Status set_system(std::string text);
  const std::string& system() const { return system_; }
  void clear() { turns_.clear(); }

  // All of it, up to where the answer goes on.
  std::vector<int32_t> prompt() const;
  // The pictures in it, in order: one for each run of soft tokens among the ids.
  std::vector<EncodedImage> images() const;

  struct Dropped {
    size_t turns = 0;
    size_t tokens = 0;
  };
  // Forgets the oldest turns until at most `tokens` are left, but never the last one, nor the system text.
  Result<Dropped> drop_oldest(size_t tokens);
  // How many tokens would be left if only the last turn were.
  Result<size_t> last_turn_tokens() const;

 private:
  struct Turn {
    std::string question, answer;
    std::vector<PromptPicture> pictures;
    std::vector<int32_t> question_ids;  // from where the answer before it ends to where its own begins
    std::vector<int32_t> answer_ids;    // with what closes it
  };

  size_t length() const;
  Result<std::vector<int32_t>> encode_question(const Turn& turn, bool first) const;
  Status encode_questions();
  std::vector<int32_t> ids_within(std::span<const int32_t> tokens, std::string_view text) const;
  void append_closing(const std::string& answer, std::vector<int32_t>& ids) const;

  const Tokenizer* tokenizer_;
  PromptFormat format_;
  int32_t bos_id_;
  VisionConfig vision_;
  std::string system_;
  std::vector<Turn> turns_;
};

}  // namespace carat::chat
