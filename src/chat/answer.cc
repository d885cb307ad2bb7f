#include "chat/answer.h"

namespace carat::chat {

AnswerText::AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stops, bool trim_leading_space)
    : detokenizer_(tokenizer), matcher_(stops), trimming_(trim_leading_space) {}

Result<std::string> AnswerText::push(const Event& event) {
  if (event.error) return *event.error;
  answer_.usage = event.usage;
  answer_.finish = event.finish;
  std::string text;
  if (event.token >= 0) {
    answer_.tokens.push_back(event.token);
    if (event.finish != FinishReason::kStop) text = give(matcher_.push(detokenizer_.push(event.token)).text);
  }
  if (!done()) return text;
  text += give(matcher_.push(detokenizer_.finish()).text);
  text += give(matcher_.finish());
  if (found_stop()) answer_.finish = FinishReason::kStop;
  return text;
}

std::string AnswerText::give(std::string_view text) {
  if (trimming_) {
    const size_t first = text.find_first_not_of(" \t\n");
    if (first == std::string_view::npos) return {};
    trimming_ = false;
    text.remove_prefix(first);
  }
  answer_.text += text;
  return std::string(text);
}

Result<Answer> stream_answer(Engine& engine, const Tokenizer& tokenizer, AnswerRequest asked,
                             const std::function<bool()>& cancelled,
                             const std::function<void(std::string_view)>& sink) {
  CARAT_TRY(const RequestId id, engine.submit(std::move(asked.request)));
  AnswerText text(tokenizer, std::move(asked.stops), asked.trim_leading_space);
  std::vector<Event> events;
  while (!text.done()) {
    events.clear();
    engine.step(events);
    for (const Event& event : events) {
      CARAT_TRY(const std::string piece, text.push(event));
      if (!piece.empty()) sink(piece);
    }
    if (!text.done() && (text.found_stop() || (cancelled && cancelled()))) engine.cancel(id);
  }
  return text.answer();
}

}  // namespace carat::chat
