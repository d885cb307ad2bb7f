#include "server/openai_answer.h"

#include <fmt/format.h>

#include <chrono>

#include "base/entropy.h"
#include "base/utf8.h"
#include "server/framing.h"
#include "server/prompts.h"

namespace carat::server {
namespace {

int64_t characters(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

std::string token_text(const Tokenizer& tokenizer, int32_t id, bool as_id) {
  return as_id ? fmt::format("token_id:{}", id) : std::string(tokenizer.piece_text(id, true));
}

void write_usage(JsonWriter& json, int64_t prompt, int64_t generated, int64_t cached, bool details) {
  json.key("usage").begin_object().field("prompt_tokens", prompt).field("total_tokens", prompt + generated);
  json.field("completion_tokens", generated);
  if (details) {
    json.key("prompt_tokens_details").begin_object().field("cached_tokens", cached).end_object();
  }
  json.end_object();
}

class Answer;

// Passes one generation's pieces on to the answer that they are a part of.
class ChoiceSink final : public GenerationSink {
 public:
  ChoiceSink(std::shared_ptr<Answer> answer, size_t index) : answer_(std::move(answer)), index_(index) {}
  void on_text(std::string_view text, std::span<const TokenInfo> tokens, bool last) override;
  void on_end(const GenerationEnd& end) override;

 private:
  const std::shared_ptr<Answer> answer_;
  const size_t index_;
};

class Answer {
 public:
  Answer(OpenAiContext context, std::vector<Choice> choices)
      : context_(std::move(context)), choices_(std::move(choices)), left_(choices_.size()) {}

  Choice& choice(size_t index) { return choices_[index]; }
  size_t size() const { return choices_.size(); }
  const OpenAiContext& context() const { return context_; }

  void on_text(size_t index, std::string_view text, std::span<const TokenInfo> tokens, bool last) {
    Choice& choice = choices_[index];
    ++generated_;
    if (!context_.request.stream) {
      take(choice, text, last);
      if (keeps_tokens()) choice.tokens.insert(choice.tokens.end(), tokens.begin(), tokens.end());
      return;
    }
    take(choice, text, last);
    choice.tokens.insert(choice.tokens.end(), tokens.begin(), tokens.end());
    if (!last) tell(index, nullptr);  // the last piece carries the reason of the end
  }

  void on_end(size_t index, const GenerationEnd& end) {
    Choice& choice = choices_[index];
    choice.end = end;
    choice.ended = true;
    if (end.finish == FinishReason::kError || end.finish == FinishReason::kCancelled) return fail(end);
    if (context_.request.stream) tell(index, &end);
    if (--left_ == 0) finish();
  }

 private:
  // What is said, and what is called, apart.
  void take(Choice& choice, std::string_view text, bool last) {
    if (!choice.scanner) {
      choice.text += text;
      return;
    }
    using Kind = chat::ToolEvent::Kind;
    std::vector<chat::ToolEvent> events = choice.scanner->push(text);
    if (last) {
      for (chat::ToolEvent& event : choice.scanner->finish()) events.push_back(std::move(event));
    }
    for (const chat::ToolEvent& event : events) {
      if (event.kind == Kind::kText) choice.text += event.text;
      if (event.kind == Kind::kCall) choice.calls.push_back({random_id("chatcmpl-tool-"), event.text, ""});
      if (event.kind == Kind::kArguments) choice.calls[event.call].arguments += event.text;
      if (event.kind == Kind::kText || event.kind == Kind::kEnd || !context_.request.stream) continue;
      JsonWriter json;
      json.begin_object();
      if (event.kind == Kind::kCall) json.field("id", choice.calls[event.call].id).field("type", "function");
      json.field("index", static_cast<int64_t>(event.call)).key("function").begin_object();
      if (event.kind == Kind::kCall) json.field("name", event.text);
      json.field("arguments", event.kind == Kind::kCall ? "" : event.text).end_object().end_object();
      if (!choice.call_deltas.empty()) choice.call_deltas += ',';
      choice.call_deltas += json.text();
    }
  }

  const Tokenizer& tokenizer() const { return *context_.model->tokenizer; }
  bool keeps_tokens() const { return context_.request.logprobs || context_.request.return_token_ids; }

  int64_t prompt_tokens() const {
    int64_t sum = 0;
    for (size_t i = 0; i < choices_.size(); i += static_cast<size_t>(context_.request.n)) {
      sum += static_cast<int64_t>(choices_[i].prompt.size());
    }
    return sum;
  }
  int64_t generated_tokens() const {
    int64_t sum = 0;
    for (const Choice& choice : choices_) sum += choice.end.usage.generated_tokens;
    return sum;
  }
  int64_t cached_tokens() const {
    int64_t sum = 0;
    for (const Choice& choice : choices_) sum += choice.end.usage.reused_tokens;
    return sum;
  }

  void fail(const GenerationEnd& end) {
    if (failed_) return;
    failed_ = true;
    const Error error = end.error ? *end.error : Error{ErrorCode::kCancelled, "the request was cancelled"};
    context_.exchange->note({context_.request.model, prompt_tokens(), 0, generated_tokens(), finish_name(end.finish)});
    const OpenAiError told{end.finish == FinishReason::kCancelled ? 503 : http_status(error.code), error.message, "",
                           ""};
    if (!begun_) return context_.exchange->respond(openai_error(context_.flavor, told));
    context_.exchange->write(sse_data(openai_error_json(context_.flavor, told)));
    context_.exchange->write(std::string(kSseDone));
    context_.exchange->end();
  }

  void begin() {
    if (std::exchange(begun_, true)) return;
    context_.exchange->begin_stream(200, std::string(kEventStream), {{"Cache-Control", "no-cache"}});
  }

  JsonWriter head(const char* object) const {
    JsonWriter json;
    json.begin_object().field("id", context_.id).field("object", object).field("created", context_.created);
    json.field("model", context_.request.model);
    return json;
  }

  void write_finish(JsonWriter& json, const GenerationEnd& end, const Choice& choice) const {
    // As OpenAI has it: whoever named a function knows that it was called.
    const bool called = !choice.calls.empty() && context_.request.tools.choice != OfferedTools::Choice::kNamed;
    json.field("finish_reason", end.finish == FinishReason::kLength ? "length" : called ? "tool_calls" : "stop");
    if (end.stop_text)
      json.field("stop_reason", *end.stop_text);
    else if (end.stop_id)
      json.field("stop_reason", *end.stop_id);
    else
      json.null_field("stop_reason");
  }

  void write_token_ids(JsonWriter& json, const char* name, std::span<const TokenInfo> tokens) const {
    if (!context_.request.return_token_ids) {
      json.null_field(name);
      return;
    }
    json.key(name).begin_array();
    for (const TokenInfo& token : tokens) json.value(token.id);
    json.end_array();
  }

  void write_prompt_ids(JsonWriter& json, const Choice& choice) const {
    if (context_.request.return_token_ids)
      json.key("prompt_token_ids").value(std::span<const int32_t>(choice.prompt));
    else
      json.null_field("prompt_token_ids");
  }

  // completions: {"text_offset","token_logprobs","tokens","top_logprobs"}, the prompt's tokens first where they are
  // echoed.
  void write_completion_logprobs(JsonWriter& json, const Choice& choice, std::span<const TokenInfo> tokens,
                                 bool with_prompt) const {
    const bool as_ids = context_.request.tokens_as_ids;
    std::string offsets = "[", logprobs = "[", texts = "[", tops = "[";
    int64_t offset = choice.told_characters;
    const auto comma = [](std::string& to) -> std::string& { return to.size() > 1 ? to += ',' : to; };
    const auto add = [&](int32_t id, const float* logprob, const std::vector<TokenLogprob>& top) {
      const std::string text = token_text(tokenizer(), id, as_ids);
      comma(offsets) += std::to_string(offset);
      offset += characters(text);
      append_json_string(comma(texts), text);
      if (logprob == nullptr) {
        comma(logprobs) += "null";
        comma(tops) += "null";
        return;
      }
      append_json_number(comma(logprobs), *logprob);
      JsonWriter dict;
      dict.begin_object().field(text, *logprob);
      for (const TokenLogprob& one : top) {
        if (one.id != id) dict.field(token_text(tokenizer(), one.id, as_ids), one.logprob);
      }
      comma(tops) += dict.end_object().text();
    };
    if (with_prompt && choice.scores) {
      for (size_t i = 0; i < choice.prompt.size(); ++i) {
        if (i == 0)
          add(choice.prompt[i], nullptr, {});
        else
          add(choice.prompt[i], &choice.scores->of[i - 1].logprob, choice.scores->of[i - 1].top);
      }
    }
    for (const TokenInfo& token : tokens) add(token.id, &token.logprob, token.top);
    json.begin_object().raw_field("text_offset", offsets + "]").raw_field("token_logprobs", logprobs + "]");
    json.raw_field("tokens", texts + "]").raw_field("top_logprobs", tops + "]").end_object();
  }

  // Sends the piece that waits; `end`: it is the last one.
  void tell(size_t index, const GenerationEnd* end) {
    Choice& choice = choices_[index];
    if (context_.is_chat && !said_role_) say_role();
    begin();
    if (end == nullptr && choice.text.empty() && choice.call_deltas.empty() && !keeps_tokens()) return;
    const std::vector<TokenInfo> tokens = std::move(choice.tokens);
    choice.tokens.clear();
    JsonWriter json = head(context_.is_chat ? "chat.completion.chunk" : "text_completion");
    json.key("choices").begin_array().begin_object().field("index", static_cast<int64_t>(index));
    if (context_.is_chat) {
      json.key("delta").begin_object();
      if (!choice.text.empty() || choice.call_deltas.empty()) json.field("content", choice.text);
      if (!choice.call_deltas.empty()) json.raw_field("tool_calls", "[" + std::exchange(choice.call_deltas, {}) + "]");
      json.end_object();
    } else {
      json.field("text", choice.echo + choice.text);
      choice.echo.clear();
    }
    if (!context_.request.logprobs) {
      json.null_field("logprobs");
    } else if (context_.is_chat) {
      json.key("logprobs");
      write_chat_logprobs(json, tokenizer(), tokens, context_.request.tokens_as_ids);
    } else {
      json.key("logprobs");
      write_completion_logprobs(json, choice, tokens, false);
      choice.told_characters += characters(choice.text);
    }
    if (end != nullptr) {
      write_finish(json, *end, choice);
    } else {
      json.null_field("finish_reason");
      if (!context_.is_chat) json.null_field("stop_reason");
    }
    if (!context_.is_chat) write_prompt_ids(json, choice);
    write_token_ids(json, "token_ids", tokens);
    json.end_object().end_array().field("system_fingerprint", context_.fingerprint);
    if (context_.request.continuous_usage) {
      const int64_t so_far = end != nullptr ? end->usage.generated_tokens : generated_;
      write_usage(json, prompt_tokens(), choices_.size() == 1 ? so_far : generated_, 0, false);
    }
    json.end_object();
    context_.exchange->write(sse_data(json.text()));
    choice.text.clear();
  }

  void say_role() {
    said_role_ = true;
    begin();
    std::string all;
    for (size_t index = 0; index < choices_.size(); ++index) {
      JsonWriter json = head("chat.completion.chunk");
      json.key("choices").begin_array().begin_object().field("index", static_cast<int64_t>(index)).key("delta");
      json.begin_object().field("role", "assistant").field("content", "").end_object();
      json.null_field("logprobs").null_field("finish_reason").end_object().end_array();
      json.field("system_fingerprint", context_.fingerprint);
      if (context_.request.continuous_usage) write_usage(json, prompt_tokens(), 0, 0, false);
      write_prompt_ids(json, choices_[index]);
      json.null_field("prompt_text").end_object();
      all += sse_data(json.text());
    }
    context_.exchange->write(std::move(all));
  }

  void finish() {
    const OpenAiCommon& request = context_.request;
    context_.exchange->note(
        {request.model, prompt_tokens(), cached_tokens(), generated_tokens(), finish_name(choices_.back().end.finish)});
    if (request.stream) {
      if (request.include_usage) {
        JsonWriter json = head(context_.is_chat ? "chat.completion.chunk" : "text_completion");
        json.key("choices").begin_array().end_array().field("system_fingerprint", context_.fingerprint);
        write_usage(json, prompt_tokens(), generated_tokens(), cached_tokens(), cached_tokens() > 0);
        json.end_object();
        context_.exchange->write(sse_data(json.text()));
      }
      context_.exchange->write(std::string(kSseDone));
      return context_.exchange->end();
    }
    JsonWriter json = head(context_.is_chat ? "chat.completion" : "text_completion");
    json.key("choices").begin_array();
    for (size_t index = 0; index < choices_.size(); ++index) write_choice(json, index);
    json.end_array().null_field("service_tier").field("system_fingerprint", context_.fingerprint);
    write_usage(json, prompt_tokens(), generated_tokens(), cached_tokens(), true);
    if (context_.is_chat) {
      const Choice& first = choices_.front();
      json.key("prompt_logprobs");
      if (first.scores)
        write_prompt_logprobs(json, tokenizer(), *first.scores);
      else
        json.null();
      write_prompt_ids(json, first);
      json.null_field("prompt_text");
    }
    json.null_field("kv_transfer_params").null_field("metrics").end_object();
    context_.exchange->respond({200, "application/json", json.take(), {}});
  }

  static void write_calls(JsonWriter& json, const std::vector<CalledFunction>& calls) {
    json.key("tool_calls").begin_array();
    for (const CalledFunction& call : calls) {
      json.begin_object().field("id", call.id).field("type", "function").key("function").begin_object();
      json.field("name", call.name).field("arguments", call.arguments).end_object().end_object();
    }
    json.end_array();
  }

  void write_choice(JsonWriter& json, size_t index) {
    const Choice& choice = choices_[index];
    json.begin_object().field("index", static_cast<int64_t>(index));
    if (context_.is_chat) {
      json.key("message").begin_object().field("role", "assistant").field("content", choice.text);
      if (!choice.calls.empty()) write_calls(json, choice.calls);
      for (const char* absent : {"refusal", "annotations", "audio", "function_call", "reasoning"})
        json.null_field(absent);
      json.end_object();
    } else {
      json.field("text", choice.echo + choice.text);
    }
    json.key("logprobs");
    if (!context_.request.logprobs)
      json.null();
    else if (context_.is_chat)
      write_chat_logprobs(json, tokenizer(), choice.tokens, context_.request.tokens_as_ids);
    else
      write_completion_logprobs(json, choice, choice.tokens, context_.request.echo);
    write_finish(json, choice.end, choice);
    write_token_ids(json, "token_ids", choice.tokens);
    if (!context_.is_chat) {
      json.key("prompt_logprobs");
      if (choice.scores)
        write_prompt_logprobs(json, tokenizer(), *choice.scores);
      else
        json.null();
      write_prompt_ids(json, choice);
    }
    json.null_field("routed_experts").end_object();
  }

  const OpenAiContext context_;
  std::vector<Choice> choices_;
  size_t left_;
  int64_t generated_ = 0;
  bool begun_ = false, said_role_ = false, failed_ = false;
};

void ChoiceSink::on_text(std::string_view text, std::span<const TokenInfo> tokens, bool last) {
  answer_->on_text(index_, text, tokens, last);
}
void ChoiceSink::on_end(const GenerationEnd& end) { answer_->on_end(index_, end); }

}  // namespace

std::string random_id(std::string_view prefix) { return fmt::format("{}{:016x}", prefix, unguessable_bits()); }

int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Room room_for(const ServedModel& model, size_t prompt_tokens, const std::optional<int64_t>& asked, bool may_be_none) {
  const int64_t context = model.context;
  if (asked && *asked < (may_be_none ? 0 : 1)) {
    return {
        0, OpenAiError{400,
                       fmt::format("max_tokens must be at least 1, got {0}. (parameter=max_tokens, value={0})", *asked),
                       "max_tokens", ""}};
  }
  if (asked && *asked > context) {
    return {0,
            OpenAiError{
                400,
                fmt::format("max_tokens={0} cannot be greater than max_model_len=max_total_tokens={1}. Please request "
                            "fewer output tokens. (parameter=max_tokens, value={0})",
                            *asked, context),
                "max_tokens", ""}};
  }
  const int64_t output = asked.value_or(0);
  const auto prompt = static_cast<int64_t>(prompt_tokens);
  if (prompt + output > context || (!asked && prompt >= context)) {
    const int64_t at_least = context - output + 1;
    return {0, OpenAiError{
                   400,
                   fmt::format("This model's maximum context length is {} tokens. However, you requested {} output "
                               "tokens and your prompt contains at least {} input tokens, for a total of at least {} "
                               "tokens. Please reduce the length of the input prompt or the number of requested output "
                               "tokens. (parameter=input_tokens, value={})",
                               context, output, at_least, context + 1, at_least),
                   "input_tokens", ""}};
  }
  return {static_cast<int32_t>(asked.value_or(context - prompt)), std::nullopt};
}

void write_prompt_logprobs(JsonWriter& json, const Tokenizer& tokenizer, const PromptScores& scores) {
  json.begin_array().null();
  for (size_t i = 0; i < scores.of.size(); ++i) {
    const PromptScore& score = scores.of[i];
    const int32_t id = scores.prompt[i + 1];
    const auto write = [&](int32_t token, float logprob, int32_t rank) {
      json.key(std::to_string(token)).begin_object().field("logprob", logprob).field("rank", rank);
      json.field("decoded_token", tokenizer.piece_text(token, true)).end_object();
    };
    json.begin_object();
    write(id, score.logprob, score.rank);
    for (size_t rank = 0; rank < score.top.size(); ++rank) {
      if (score.top[rank].id != id) write(score.top[rank].id, score.top[rank].logprob, static_cast<int32_t>(rank) + 1);
    }
    json.end_object();
  }
  json.end_array();
}

void write_chat_logprobs(JsonWriter& json, const Tokenizer& tokenizer, std::span<const TokenInfo> tokens, bool as_ids) {
  const auto write = [&](int32_t id, float logprob) {
    const std::string text = token_text(tokenizer, id, as_ids);
    json.field("token", text).field("logprob", logprob).key("bytes").begin_array();
    for (const char c : text) json.value(static_cast<int32_t>(static_cast<unsigned char>(c)));
    json.end_array();
  };
  json.begin_object().key("content").begin_array();
  for (const TokenInfo& token : tokens) {
    json.begin_object();
    write(token.id, token.logprob);
    json.key("top_logprobs").begin_array();
    for (const TokenLogprob& top : token.top) {
      json.begin_object();
      write(top.id, top.logprob);
      json.end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().end_object();
}

std::optional<OpenAiError> missing_model(App& app, const std::string& model) {
  if (app.flavor() == Flavor::kVllm && model.empty()) return std::nullopt;  // the only one there is
  if (app.models().find(model)) return std::nullopt;
  if (app.flavor() == Flavor::kOllama) return OpenAiError{404, fmt::format("model '{}' not found", model), "", ""};
  return OpenAiError{404, fmt::format("The model `{}` does not exist.", model), "model", ""};
}

void acquire_openai(App& app, const ExchangePtr& exchange, const std::string& model, std::function<void(Lease)> ready) {
  if (auto error = missing_model(app, model)) return exchange->respond(openai_error(app.flavor(), *error));
  const std::string& name = model.empty() ? app.models().pinned_names()[0] : model;
  app.models().acquire(name, 0, std::nullopt, [&app, exchange, ready = std::move(ready)](Result<Lease> lease) {
    if (lease) return ready(std::move(*lease));
    exchange->respond(openai_error(app.flavor(), {http_status(lease.error().code), lease.error().message, "", ""}));
  });
}

void answer_openai(App& app, OpenAiContext context, std::vector<std::vector<int32_t>> prompts,
                   const chat::GenerationOptions& options) {
  context.id = random_id(context.is_chat ? "chatcmpl-" : "cmpl-");
  context.created = unix_now();
  context.flavor = app.flavor();
  context.fingerprint = app.flavor() == Flavor::kOllama ? "fp_ollama" : "carat-" + app.options().version;
  if (context.request.model.empty()) context.request.model = context.model->name;
  const OpenAiCommon& request = context.request;
  std::vector<Choice> choices;
  for (std::vector<int32_t>& prompt : prompts) {
    Choice choice;
    if (request.echo && !context.is_chat) choice.echo = context.model->tokenizer->decode(prompt);
    choice.prompt = std::move(prompt);
    choices.insert(choices.end(), static_cast<size_t>(request.n), choice);
  }
  const ExchangePtr exchange = context.exchange;
  const Lease model = context.model;
  const auto answer = std::make_shared<Answer>(std::move(context), std::move(choices));
  std::vector<std::shared_ptr<Constraint>> shapes(answer->size());
  const OpenAiCommon& asked_for = answer->context().request;
  const auto whole = asked_for.tools.shape(asked_for.shape);
  const auto refuse = [&](const Error& error) {
    const std::string what = asked_for.shape ? "Grammar error: " : "tools: ";
    exchange->respond(openai_error(
        app.flavor(), {http_status(error.code), what + error.message, asked_for.shape ? "" : "tools", ""}));
  };
  if (!whole) return refuse(whole.error());
  for (std::shared_ptr<Constraint>& shape : shapes) {
    if (!*whole) break;
    auto begun = model->begin(**whole);
    if (!begun) return refuse(begun.error());
    shape = std::move(*begun);
  }
  const TokenRules rules = rules_of(*model, asked_for.sampling.allowed_ids, asked_for.sampling.bad_words);
  std::vector<WorkId> started;
  const auto cancel_all = [model](const std::vector<WorkId>& ids) {
    for (const WorkId id : ids) model->generations->cancel(id);
  };
  for (size_t index = 0; index < answer->size(); ++index) {
    Choice& choice = answer->choice(index);
    if (answer->context().is_chat)
      choice.scanner = asked_for.tools.scanner(asked_for.shape, model->format.marks_calls());
    const OpenAiCommon& asked = answer->context().request;
    GenerationRequest generation;
    generation.request.prompt = choice.prompt;
    generation.request.images = answer->context().images;
    generation.request.sampling = options.sampling;
    generation.request.constraint = shapes[index];
    generation.request.rules = rules;
    SamplingParams& sampling = generation.request.sampling;
    const auto copy = static_cast<uint64_t>(index % static_cast<size_t>(asked.n));
    if (sampling.seed && copy > 0) sampling.seed = *sampling.seed + copy;  // or all choices would be the same
    sampling.logprobs = asked.logprobs.has_value();
    sampling.top_logprobs = static_cast<int32_t>(asked.logprobs.value_or(0));
    if (asked.prompt_logprobs && copy == 0) {
      choice.scores = std::make_shared<PromptScores>();
      choice.scores->top = static_cast<int32_t>(*asked.prompt_logprobs);
      observe_prompt(generation.request, choice.scores);
    } else if (asked.prompt_logprobs) {
      choice.scores = answer->choice(index - copy).scores;
    }
    generation.stops = options.stops;
    generation.include_stop = asked.sampling.include_stop;
    generation.special_tokens = !asked.sampling.skip_special_tokens;
    generation.trim_leading_space = answer->context().is_chat && model->format.trims_leading_space();
    generation.client = exchange->request().account;
    generation.request.cache_salt = cache_salt(exchange->request(), asked.cache_salt);
    generation.priority = asked.priority;
    const auto id =
        model->generations->start(std::move(generation), std::make_shared<ChoiceSink>(answer, index), model);
    if (!id) {
      cancel_all(started);
      return exchange->respond(too_busy(app.flavor(), "/v1/"));
    }
    started.push_back(*id);
  }
  exchange->on_gone([cancel_all, started] { cancel_all(started); });
}

}  // namespace carat::server
