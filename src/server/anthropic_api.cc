// Anthropic's /v1/messages and /v1/messages/count_tokens.
#include <fmt/format.h>

#include "server/framing.h"
#include "server/openai_answer.h"
#include "server/prompts.h"

namespace carat::server {
namespace {

void refuse(const ExchangePtr& exchange, const OpenAiError& error) {
  exchange->respond(anthropic_error(error.status, error.message));
}

struct Context {
  ExchangePtr exchange;
  Lease model;
  std::string name;
  bool stream = false;
  int64_t prompt_tokens = 0;
  std::string id = random_id("msg_");
};

const char* stop_reason(const GenerationEnd& end) {
  if (end.finish == FinishReason::kLength) return "max_tokens";
  return end.stop_text ? "stop_sequence" : "end_turn";
}

class Answer final : public GenerationSink {
 public:
  explicit Answer(Context context) : context_(std::move(context)) {}

  void on_text(std::string_view text, std::span<const TokenInfo>, bool) override {
    if (!context_.stream) {
      text_ += text;
      return;
    }
    if (text.empty()) return;
    begin();
    JsonWriter json;
    json.begin_object().field("type", "content_block_delta").key("delta").begin_object().field("type", "text_delta");
    json.field("text", text).end_object().field("index", 0).end_object();
    context_.exchange->write(sse_event("content_block_delta", json.text()));
  }

  void on_end(const GenerationEnd& end) override {
    context_.exchange->note({context_.name, end.usage.prompt_tokens, end.usage.reused_tokens,
                             end.usage.generated_tokens, finish_name(end.finish)});
    if (end.finish == FinishReason::kError || end.finish == FinishReason::kCancelled) return fail(end);
    JsonWriter json;
    if (!context_.stream) {
      write_head(json);
      json.key("content")
          .begin_array()
          .begin_object()
          .field("type", "text")
          .field("text", text_)
          .end_object()
          .end_array();
      write_stop(json, end);
      write_usage(json, end.usage.generated_tokens, end.usage.reused_tokens);
      json.end_object();
      return context_.exchange->respond({200, "application/json", json.take(), {}});
    }
    begin();
    context_.exchange->write(sse_event("content_block_stop", R"({"type":"content_block_stop","index":0})"));
    json.begin_object().field("type", "message_delta").key("delta").begin_object();
    write_stop(json, end);
    json.end_object();
    write_usage(json, end.usage.generated_tokens, end.usage.reused_tokens);
    json.end_object();
    context_.exchange->write(sse_event("message_delta", json.text()));
    context_.exchange->write(sse_event("message_stop", R"({"type":"message_stop"})"));
    context_.exchange->end();
  }

 private:
  void write_head(JsonWriter& json) const {
    json.begin_object().field("id", context_.id).field("type", "message").field("role", "assistant");
    json.field("model", context_.name);
  }
  static void write_stop(JsonWriter& json, const GenerationEnd& end) {
    json.field("stop_reason", stop_reason(end)).key("stop_sequence");
    if (end.stop_text)
      json.value(*end.stop_text);
    else
      json.null();
  }
  void write_usage(JsonWriter& json, int64_t output, int64_t cached) const {
    json.key("usage").begin_object().field("input_tokens", context_.prompt_tokens).field("output_tokens", output);
    json.field("cache_read_input_tokens", cached).end_object();
  }

  void begin() {
    if (std::exchange(begun_, true)) return;
    context_.exchange->begin_stream(200, std::string(kEventStream), {{"Cache-Control", "no-cache"}});
    JsonWriter json;
    json.begin_object().field("type", "message_start").key("message");
    write_head(json);
    json.key("content").begin_array().end_array().null_field("stop_reason").null_field("stop_sequence");
    write_usage(json, 0, 0);
    json.end_object().end_object();
    context_.exchange->write(sse_event("message_start", json.text()));
    context_.exchange->write(
        sse_event("content_block_start",
                  R"({"type":"content_block_start","content_block":{"type":"text","text":""},"index":0})"));
  }

  void fail(const GenerationEnd& end) {
    const Error error = end.error ? *end.error : Error{ErrorCode::kCancelled, "the request was cancelled"};
    const int status = end.finish == FinishReason::kCancelled ? 503 : http_status(error.code);
    if (!begun_) return context_.exchange->respond(anthropic_error(status, error.message));
    context_.exchange->write(sse_event("error", anthropic_error_json(status, error.message)));
    context_.exchange->end();
  }

  Context context_;
  std::string text_;
  bool begun_ = false;
};

// The request with its prompt's ids, for both; `ready` runs on a worker.
void prepare(App& app, const ExchangePtr& exchange, bool counting,
             std::function<void(const Lease&, MessagesRequest&, std::vector<int32_t>)> ready) {
  auto parsed = parse_messages(app.flavor(), exchange->request().body, counting);
  if (parsed.error) return refuse(exchange, *parsed.error);
  auto request = std::make_shared<MessagesRequest>(std::move(parsed.request));
  if (request->has_images) return refuse(exchange, {400, "this model does not take images", "", ""});
  if (request->has_tools) return refuse(exchange, {400, "tools: tool calls are not there yet", "", ""});
  if (const auto error = missing_model(app, request->model)) {
    return refuse(exchange, {404, fmt::format("model: {}", request->model), "", ""});
  }
  const std::string name = request->model.empty() ? app.models().pinned_names()[0] : request->model;
  app.models().acquire(name, 0, std::nullopt,
                       [exchange, request, ready = std::move(ready)](const Result<Lease>& lease) {
                         if (!lease)
                           return refuse(exchange, {http_status(lease.error().code), lease.error().message, "", ""});
                         ChatPrompt prompt{collated(std::move(request->messages)), true, false};
                         prompt.continue_final = prompt.messages.back().role == "assistant";
                         auto ids = encode_chat_prompt(**lease, (*lease)->format, prompt);
                         if (!ids) return refuse(exchange, {400, ids.error().message, "", ""});
                         ready(*lease, *request, std::move(*ids));
                       });
}

void messages(App& app, const ExchangePtr& exchange) {
  prepare(app, exchange, false,
          [&app, exchange](const Lease& model, MessagesRequest& request, std::vector<int32_t> ids) {
            chat::GenerationOptions options = model->defaults;
            if (const auto error = apply_sampling(options, request.sampling, model->config().vocabulary))
              return refuse(exchange, *error);
            const Room room = room_for(*model, ids.size(), request.sampling.max_tokens, false);
            if (room.error) return refuse(exchange, *room.error);
            options.sampling.max_tokens = room.max_tokens;
            Context context{exchange, model, request.model, request.stream, static_cast<int64_t>(ids.size())};
            GenerationRequest generation;
            generation.request.prompt = std::move(ids);
            generation.request.sampling = options.sampling;
            generation.stops = options.stops;
            generation.trim_leading_space = model->format.trims_leading_space();
            generation.client = exchange->request().account;
            generation.request.cache_salt = cache_salt(exchange->request());
            const auto id =
                model->generations->start(std::move(generation), std::make_shared<Answer>(std::move(context)), model);
            if (!id) return exchange->respond(too_busy(app.flavor(), "/v1/messages"));
            exchange->on_gone([model, id = *id] { model->generations->cancel(id); });
          });
}

void count_tokens(App& app, const ExchangePtr& exchange) {
  prepare(app, exchange, true, [exchange](const Lease&, MessagesRequest&, const std::vector<int32_t>& ids) {
    exchange->respond(
        {200,
         "application/json",
         fmt::format("{{\"input_tokens\":{0},\"context_management\":{{\"original_input_tokens\":{0}}}}}", ids.size()),
         {}});
  });
}

}  // namespace

void add_anthropic_routes(Router& router) {
  router.add({"POST", "/v1/messages", messages, false, false, false, true, "Answers, in Anthropic's shape"});
  router.add(
      {"POST", "/v1/messages/count_tokens", count_tokens, false, false, false, true, "Counts a prompt's tokens"});
}

}  // namespace carat::server
