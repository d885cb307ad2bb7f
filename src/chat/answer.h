// One answer as text: what the events of a request say, decoded and cut at its stop strings. A server pushes events as
// they come; a command that waits for its answer streams it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/stop_matcher.h"
#include "tokenizer/tokenizer.h"

namespace carat::chat {

struct Answer {
  std::string text;             // all that was given out
  std::vector<int32_t> tokens;  // sampled, the end token or the stop string's included
  FinishReason finish = FinishReason::kNone;
  Usage usage;
};

// From the events of one request to text, piece by piece: whole code points, nothing of a stop string.
class AnswerText {
 public:
  // The tokenizer must outlive it. `trim_leading_space`: see PromptFormat::trims_leading_space.
  AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stops, bool trim_leading_space);

  // What has become certain with this event: often nothing, at the last one all that was held back. After a stop
  // string the answer is done() though the engine knows nothing of it: its request is to be cancelled.
  // Errors: kCorruptFile when the model computed no numbers.
  Result<std::string> push(const Event& event);

  bool found_stop() const { return matcher_.stopped(); }
  bool done() const { return answer_.finish != FinishReason::kNone; }
  const Answer& answer() const { return answer_; }

 private:
  std::string give(std::string_view text);

  Detokenizer detokenizer_;
  StopMatcher matcher_;
  bool trimming_;  // until the first text that is not white space has passed
  Answer answer_;
};

struct AnswerRequest {
  Request request;
  std::vector<std::string> stops;
  bool trim_leading_space = false;
};

// Runs the engine until this request is done; `sink` gets every piece of text. `cancelled` is asked after each step,
// and may be null; the answer ends with kCancelled then. Errors: those of Engine::submit and of AnswerText::push.
Result<Answer> stream_answer(Engine& engine, const Tokenizer& tokenizer, AnswerRequest asked,
                             const std::function<bool()>& cancelled, const std::function<void(std::string_view)>& sink);

}  // namespace carat::chat
