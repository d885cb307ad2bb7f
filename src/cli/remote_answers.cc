#include "cli/remote_answers.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "base/json.h"
#include "chat/model_facts.h"
#include "cli/json_text.h"
#include "cli/remote.h"

namespace carat::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

Json body_of(const std::string& model, const chat::AnswerRequest& asked) {
  const SamplingParams& sampling = asked.request.sampling;
  Json body{{"model", model},
            {"prompt", asked.request.prompt},
            {"stream", true},
            {"stream_options", {{"include_usage", true}}},
            {"return_token_ids", true},
            {"max_tokens", sampling.max_tokens},
            {"temperature", sampling.temperature},
            {"top_k", sampling.top_k},
            {"top_p", sampling.top_p},
            {"min_p", sampling.min_p},
            {"typical_p", sampling.typical_p},
            {"repetition_penalty", sampling.repetition_penalty},
            {"presence_penalty", sampling.presence_penalty},
            {"frequency_penalty", sampling.frequency_penalty},
            {"repeat_last_n", sampling.repeat_last_n},
            {"min_tokens", sampling.min_tokens},
            {"ignore_eos", sampling.ignore_eos},
            {"stop", asked.stops},
            {"stop_token_ids", sampling.stop_ids}};
  if (sampling.seed) body["seed"] = *sampling.seed;
  for (const auto& [id, bias] : sampling.logit_bias) body["logit_bias"][std::to_string(id)] = bias;
  return body;
}

// The server's events, as the engine would have told them.
class Events {
 public:
  Events(const Tokenizer& tokenizer, chat::AnswerRequest& asked)
      : text_(tokenizer, std::move(asked.stops), asked.trim_leading_space) {}

  bool done() const { return text_.done() || text_.found_stop(); }
  const chat::AnswerText& text() const { return text_; }

  Status take(std::string_view bytes, const std::function<void(std::string_view)>& sink) {
    held_ += bytes;
    for (size_t end; (end = held_.find("\n\n")) != std::string::npos; held_.erase(0, end + 2)) {
      const std::string_view event = std::string_view(held_).substr(0, end);
      if (event.starts_with("data: {") && !done()) CARAT_CHECK(read(json_or_null(event.substr(6)), sink));
    }
    return {};
  }

  // How it ended, where the stream did not say it.
  chat::Answer answer(FinishReason otherwise) const {
    chat::Answer answer = text_.answer();
    if (text_.found_stop()) answer.finish = FinishReason::kStop;
    if (answer.finish == FinishReason::kNone) answer.finish = otherwise;
    answer.usage = usage_;
    return answer;
  }

  // The figures come after the last token.
  void read_usage(const Json& json) {
    const auto usage = json.find("usage");
    if (usage == json.end() || !usage->is_object()) return;
    const auto number = [](const Json& in, const char* name) {
      const auto it = in.find(name);
      return it != in.end() && it->is_number_integer() ? it->get<int32_t>() : 0;
    };
    usage_.prompt_tokens = number(*usage, "prompt_tokens");
    usage_.generated_tokens = number(*usage, "completion_tokens");
    const auto details = usage->find("prompt_tokens_details");
    if (details != usage->end() && details->is_object()) usage_.reused_tokens = number(*details, "cached_tokens");
    complete_ = true;
  }
  bool complete() const { return complete_; }

 private:
  Status read(const Json& json, const std::function<void(std::string_view)>& sink) {
    if (!json.is_object()) return {};
    if (json.contains("error")) {
      const Json& error = json["error"];
      const bool told = error.is_object() && error.contains("message") && error["message"].is_string();
      return Error{ErrorCode::kNetwork, told ? error["message"].get<std::string>() : "the server ended the answer"};
    }
    read_usage(json);
    const auto choices = json.find("choices");
    if (choices == json.end() || !choices->is_array() || choices->empty() || !choices->front().is_object()) return {};
    const Json& choice = choices->front();
    std::vector<int32_t> ids;
    if (const auto it = choice.find("token_ids"); it != choice.end() && it->is_array()) {
      for (const Json& id : *it) ids.push_back(id.is_number_integer() ? id.get<int32_t>() : -1);
    }
    FinishReason finish = FinishReason::kNone;
    if (const auto it = choice.find("finish_reason"); it != choice.end() && it->is_string()) {
      finish = *it == "stop" ? FinishReason::kStop : FinishReason::kLength;
      if (ids.empty()) ids.push_back(-1);
    }
    for (size_t i = 0; i < ids.size() && !done(); ++i) {
      Event event;
      event.token = ids[i];
      if (i + 1 == ids.size()) event.finish = finish;
      const auto now = Clock::now();
      if (usage_.prompt_seconds == 0) {
        usage_.prompt_seconds = seconds(now - began_);
        first_ = now;
      }
      usage_.generate_seconds = seconds(now - first_);
      CARAT_TRY(const std::string piece, text_.push(event));
      if (!piece.empty()) sink(piece);
      ++usage_.generated_tokens;
    }
    return {};
  }

  chat::AnswerText text_;
  std::string held_;  // bytes of an event that is not complete
  Usage usage_;
  bool complete_ = false;
  Clock::time_point began_ = Clock::now(), first_;
};

class Server final : public chat::Elsewhere {
 public:
  Server(Remote remote, std::string model, std::string keep_alive)
      : remote_(std::move(remote)), model_(std::move(model)), keep_alive_(std::move(keep_alive)) {}

  Status reserve(int64_t context) override {
    Json body{{"model", model_}, {"options", {{"num_ctx", context}}}};
    if (!keep_alive_.empty()) {  // "5m", or a number of seconds
      const Json number = json_or_null(keep_alive_);
      body["keep_alive"] = number.is_number() ? number : Json(keep_alive_);
    }
    CARAT_TRY(const std::string answer, remote_.post("/api/generate", json_text(body)));
    return {};
  }

  Result<chat::Answer> stream(const Tokenizer& tokenizer, chat::AnswerRequest asked,
                              const std::function<bool()>& cancelled,
                              const std::function<void(std::string_view)>& sink) override {
    const auto prompt_tokens = static_cast<int32_t>(asked.request.prompt.size());
    const std::string body = json_text(body_of(model_, asked));
    Events events(tokenizer, asked);
    CARAT_TRY(const bool ended,
              remote_.stream(
                  "/v1/completions", body, [&](std::string_view bytes) { return events.take(bytes, sink); },
                  [&] { return events.text().found_stop() || (cancelled && cancelled()); }));
    const bool all = events.text().done() || events.text().found_stop();
    if (ended && !all) return Error{ErrorCode::kNetwork, remote_.url() + ": the answer was cut off"};
    chat::Answer answer = events.answer(FinishReason::kCancelled);
    if (!events.complete()) answer.usage.prompt_tokens = prompt_tokens;
    return answer;
  }

 private:
  const Remote remote_;
  const std::string model_, keep_alive_;
};

}  // namespace

std::shared_ptr<chat::Elsewhere> find_elsewhere(const ResolvedModel& model, const std::string& keep_alive) {
  const std::string digest = chat::facts_of(model).digest;
  if (digest.empty()) return nullptr;
  auto remote = Remote::find();
  if (!remote) return nullptr;
  const auto models = remote->models();
  if (!models) return nullptr;
  for (const StoredThere& there : *models) {
    if (there.digest == digest) return std::make_shared<Server>(std::move(*remote), there.name, keep_alive);
  }
  return nullptr;
}

}  // namespace carat::cli
