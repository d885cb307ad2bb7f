#include "cli/answer.h"

#include "tokenizer/detokenizer.h"
#include "tokenizer/stop_matcher.h"

namespace carat::cli {
namespace {

// Drops whitespace until the first other text has passed.
class LeadingTrim {
 public:
  explicit LeadingTrim(bool active) : active_(active) {}

  std::string_view pass(std::string_view text) {
    if (!active_) return text;
    const size_t first = text.find_first_not_of(" \t\n");
    if (first == std::string_view::npos) return {};
    active_ = false;
    return text.substr(first);
  }

 private:
  bool active_;
};

}  // namespace

Result<Answer> stream_answer(Engine& engine, const Tokenizer& tokenizer, AnswerRequest asked, const InterruptGuard&,
                             const std::function<void(std::string_view)>& sink) {
  CARAT_TRY(const RequestId id, engine.submit(std::move(asked.request)));
  Answer answer;
  Detokenizer detokenizer(tokenizer);
  StopMatcher matcher(asked.stops);
  LeadingTrim trim(asked.trim_leading_space);
  const auto emit = [&](std::string_view text) {
    const std::string_view shown = trim.pass(text);
    if (shown.empty()) return;
    answer.text += shown;
    sink(shown);
  };

  std::vector<Event> events;
  while (answer.finish == FinishReason::kNone) {
    events.clear();
    engine.step(events);
    for (const Event& event : events) {
      answer.usage = event.usage;
      answer.finish = event.finish;
      if (event.token < 0) continue;
      answer.tokens.push_back(event.token);
      if (event.finish != FinishReason::kStop) emit(matcher.push(detokenizer.push(event.token)).text);
    }
    if (answer.finish != FinishReason::kNone) break;
    if (matcher.stopped() || InterruptGuard::interrupted()) engine.cancel(id);
  }
  if (answer.finish == FinishReason::kError) {
    return Error{ErrorCode::kCorruptFile, "the model computed no finite logits: its weights are damaged"};
  }
  if (!matcher.stopped()) {
    emit(matcher.push(detokenizer.finish()).text);
    emit(matcher.finish());
  }
  if (matcher.stopped()) answer.finish = FinishReason::kStop;
  return answer;
}

}  // namespace carat::cli
