// One answer, streamed as text: the loop between engine, detokenizer and stop strings that one-shot runs and the REPL
// share.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/interrupt.h"
#include "engine/engine.h"
#include "tokenizer/tokenizer.h"

namespace carat::cli {

struct AnswerRequest {
  Request request;
  std::vector<std::string> stops;
  bool trim_leading_space = false;
};

struct Answer {
  std::string text;             // all that was given to the sink
  std::vector<int32_t> tokens;  // sampled, the end token or the stop string's included
  FinishReason finish = FinishReason::kNone;
  Usage usage;
};

// Calls `sink` with every piece of text that has become certain: whole code points, nothing of a stop string.
// `held`: while it lives Ctrl-C only asks, and the answer ends with kCancelled. Errors: those of Engine::submit;
// kCorruptFile when the model computes no numbers.
Result<Answer> stream_answer(Engine& engine, const Tokenizer& tokenizer, AnswerRequest asked,
                             const InterruptGuard& held, const std::function<void(std::string_view)>& sink);

}  // namespace carat::cli
