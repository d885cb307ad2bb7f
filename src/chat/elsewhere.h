// Answers that another process computes: a server that has the same model loaded. What is asked and what is said stay
// the same, because both are token ids: prompts, stops and text are made here.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "base/result.h"
#include "chat/answer.h"

namespace carat::chat {

class Elsewhere {
 public:
  virtual ~Elsewhere() = default;

  // Loads the model there, with at least so many positions. Any error: it cannot be had there, answer here.
  virtual Status reserve(int64_t context) = 0;

  // The same as chat::stream_answer, for a request that can_go(). Errors after the first text are the answer's; before
  // it, whoever asked may answer here.
  virtual Result<Answer> stream(const Tokenizer& tokenizer, AnswerRequest asked, const std::function<bool()>& cancelled,
                                const std::function<void(std::string_view)>& sink) = 0;
};

// Pictures and grammars stay here: they are no token ids.
inline bool can_go(const AnswerRequest& asked) {
  return asked.request.images.empty() && asked.request.constraint == nullptr && !asked.request.on_logits;
}

}  // namespace carat::chat
