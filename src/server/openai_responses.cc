// OpenAI's /v1/responses, without a memory: nothing is stored, so nothing can be fetched or continued later.
#include <fmt/format.h>

#include "server/framing.h"
#include "server/openai_answer.h"
#include "server/prompts.h"

namespace carat::server {
namespace {

void refuse(App& app, const ExchangePtr& exchange, const OpenAiError& error) {
  exchange->respond(openai_error(app.flavor(), error));
}

struct Context {
  ExchangePtr exchange;
  Lease model;
  ResponsesRequest request;
  SamplingParams sampling;
  Flavor flavor = Flavor::kVllm;
  std::string id = random_id("resp_"), item = random_id("msg_");
  int64_t created = unix_now();
};

class Answer final : public GenerationSink {
 public:
  explicit Answer(Context context) : context_(std::move(context)) {}

  void on_text(std::string_view text, std::span<const TokenInfo>, bool) override {
    text_ += text;
    if (!context_.request.stream || text.empty()) return;
    begin();
    JsonWriter json = event();
    json.field("content_index", 0).field("delta", text).field("item_id", context_.item);
    json.key("logprobs").begin_array().end_array().field("output_index", 0);
    send("response.output_text.delta", json);
  }

  void on_end(const GenerationEnd& end) override {
    context_.exchange->note({context_.request.model, end.usage.prompt_tokens, end.usage.reused_tokens,
                             end.usage.generated_tokens, finish_name(end.finish)});
    if (end.finish == FinishReason::kError || end.finish == FinishReason::kCancelled) return fail(end);
    if (!context_.request.stream) {
      JsonWriter json;
      write_response(json, &end);
      return context_.exchange->respond({200, "application/json", json.take(), {}});
    }
    begin();
    JsonWriter json = event();
    json.field("content_index", 0).field("item_id", context_.item).key("logprobs").begin_array().end_array();
    json.field("output_index", 0).field("text", text_);
    send("response.output_text.done", json);
    json = event();
    json.field("content_index", 0).field("item_id", context_.item).field("output_index", 0).key("part");
    write_part(json);
    send("response.content_part.done", json);
    json = event();
    json.key("item");
    write_item(json, "completed", true);
    json.field("output_index", 0);
    send("response.output_item.done", json);
    json = event();
    json.key("response");
    write_response(json, &end);
    send("response.completed", json);
    context_.exchange->end();
  }

 private:
  static JsonWriter event() {
    JsonWriter json;
    json.begin_object();
    return json;
  }
  void send(std::string_view name, JsonWriter& json) {
    json.field("sequence_number", sequence_++).field("type", name).end_object();
    context_.exchange->write(sse_event(name, json.text()));
  }

  void begin() {
    if (std::exchange(begun_, true)) return;
    context_.exchange->begin_stream(200, std::string(kEventStream), {{"Cache-Control", "no-cache"}});
    for (const char* name : {"response.created", "response.in_progress"}) {
      JsonWriter json = event();
      json.key("response");
      write_response(json, nullptr);
      send(name, json);
    }
    JsonWriter json = event();
    json.key("item");
    write_item(json, "in_progress", false);
    json.field("output_index", 0);
    send("response.output_item.added", json);
    json = event();
    json.field("content_index", 0).field("item_id", context_.item).field("output_index", 0).key("part").begin_object();
    json.key("annotations").begin_array().end_array().field("text", "").field("type", "output_text");
    json.key("logprobs").begin_array().end_array().end_object();
    send("response.content_part.added", json);
  }

  void fail(const GenerationEnd& end) {
    const Error error = end.error ? *end.error : Error{ErrorCode::kCancelled, "the request was cancelled"};
    const OpenAiError told{end.finish == FinishReason::kCancelled ? 503 : http_status(error.code), error.message, "",
                           ""};
    if (!begun_) return context_.exchange->respond(openai_error(context_.flavor, told));
    context_.exchange->write(sse_event("error", openai_error_json(context_.flavor, told)));
    context_.exchange->end();
  }

  void write_part(JsonWriter& json) const {
    json.begin_object().key("annotations").begin_array().end_array().field("text", text_).field("type", "output_text");
    if (context_.flavor == Flavor::kVllm)
      json.null_field("logprobs");
    else
      json.key("logprobs").begin_array().end_array();
    json.end_object();
  }

  void write_item(JsonWriter& json, const char* status, bool with_text) const {
    json.begin_object().field("id", context_.item).key("content").begin_array();
    if (with_text) write_part(json);
    json.end_array().field("role", "assistant").field("status", status).field("type", "message").null_field("phase");
    json.key("summary").begin_array().end_array().end_object();
  }

  // `end`: null while it is being made.
  void write_response(JsonWriter& json, const GenerationEnd* end) const {
    const bool cut = end != nullptr && end->finish == FinishReason::kLength;
    const bool as_vllm = context_.flavor == Flavor::kVllm;
    json.begin_object().field("id", context_.id).field("created_at", context_.created);
    if (end != nullptr)
      json.field("completed_at", unix_now());
    else
      json.null_field("completed_at");
    json.key("incomplete_details");
    if (cut)
      json.begin_object().field("reason", "max_output_tokens").end_object();
    else
      json.null();
    json.key("instructions");
    if (context_.request.instructions.empty())
      json.null();
    else
      json.value(context_.request.instructions);
    json.key("metadata");
    if (as_vllm)
      json.null();
    else
      json.begin_object().end_object();
    json.field("model", context_.request.model).field("object", "response").key("output").begin_array();
    if (end != nullptr) write_item(json, "completed", true);
    json.end_array().null_field("error").field("parallel_tool_calls", true);
    json.field("temperature", context_.sampling.temperature).field("tool_choice", as_vllm ? "none" : "auto");
    json.key("tools").begin_array().end_array().field("top_p", context_.sampling.top_p).field("background", false);
    json.field("max_output_tokens", context_.sampling.max_tokens).null_field("max_tool_calls");
    json.null_field("previous_response_id").null_field("prompt").null_field("reasoning");
    json.field("service_tier", as_vllm ? "auto" : "default");
    json.field("status", end == nullptr ? "in_progress" : cut ? "incomplete" : "completed");
    json.key("text").begin_object().key("format").begin_object().field("type", "text").end_object().end_object();
    if (as_vllm)
      json.null_field("top_logprobs");
    else
      json.field("top_logprobs", 0);
    json.field("truncation", "disabled").key("usage");
    if (end == nullptr) {
      json.null();
    } else {
      const Usage& usage = end->usage;
      json.begin_object().field("input_tokens", usage.prompt_tokens).key("input_tokens_details").begin_object();
      json.field("cached_tokens", usage.reused_tokens);
      for (const char* name : {"input_tokens_per_turn", "cached_tokens_per_turn"})
        json.key(name).begin_array().end_array();
      json.end_object().field("output_tokens", usage.generated_tokens).key("output_tokens_details").begin_object();
      json.field("reasoning_tokens", 0).field("tool_output_tokens", 0);
      for (const char* name : {"output_tokens_per_turn", "tool_output_tokens_per_turn"}) {
        json.key(name).begin_array().end_array();
      }
      json.end_object().field("total_tokens", usage.prompt_tokens + usage.generated_tokens).end_object();
    }
    json.field("store", false).null_field("user").null_field("safety_identifier").null_field("prompt_cache_key");
    json.field("presence_penalty", context_.sampling.presence_penalty);
    json.field("frequency_penalty", context_.sampling.frequency_penalty);
    json.null_field("kv_transfer_params").null_field("input_messages").null_field("output_messages").end_object();
  }

  Context context_;
  std::string text_;
  int64_t sequence_ = 0;
  bool begun_ = false;
};

void responses(App& app, const ExchangePtr& exchange) {
  auto parsed = parse_responses(app.flavor(), exchange->request().body, app.options().max_logprobs);
  if (parsed.error) return refuse(app, exchange, *parsed.error);
  auto request = std::make_shared<ResponsesRequest>(std::move(parsed.request));
  if (request->has_images) {
    return refuse(app, exchange, {400, fmt::format("{} is not a multimodal model", request->model), "", ""});
  }
  if (request->has_tools) return refuse(app, exchange, {400, "tools: tool calls are not there yet", "tools", ""});
  acquire_openai(app, exchange, request->model, [&app, exchange, request](const Lease& model) {
    chat::GenerationOptions options = model->defaults;
    if (const auto error = apply_sampling(options, request->sampling, model->config().vocabulary)) {
      return refuse(app, exchange, *error);
    }
    auto ids = encode_chat_prompt(*model, model->format, {collated(std::move(request->messages)), true, false});
    if (!ids) return refuse(app, exchange, {400, ids.error().message, "", ""});
    const Room room = room_for(*model, ids->size(), request->sampling.max_tokens, false);
    if (room.error) return refuse(app, exchange, *room.error);
    options.sampling.max_tokens = room.max_tokens;
    GenerationRequest generation;
    generation.request.prompt = std::move(*ids);
    generation.request.sampling = options.sampling;
    generation.stops = options.stops;
    generation.trim_leading_space = model->format.trims_leading_space();
    generation.client = exchange->request().account;
    generation.request.cache_salt = cache_salt(exchange->request(), request->cache_salt);
    if (request->shape) {
      auto shape = model->begin(*request->shape);
      if (!shape) return refuse(app, exchange, {400, "Grammar error: " + shape.error().message, "text.format", ""});
      generation.request.constraint = std::move(*shape);
    }
    Context context{exchange, model, std::move(*request), options.sampling, app.flavor()};
    const auto id =
        model->generations->start(std::move(generation), std::make_shared<Answer>(std::move(context)), model);
    if (!id) return exchange->respond(too_busy(app.flavor(), "/v1/"));
    exchange->on_gone([model, id = *id] { model->generations->cancel(id); });
  });
}

void not_stored(App& app, const ExchangePtr& exchange) {
  std::string id = path_tail(exchange->request(), "/v1/responses/");
  if (id.ends_with("/cancel")) id.resize(id.size() - 7);
  refuse(app, exchange,
         {404, fmt::format("Response with id '{}' not found.", id), "response_id", "invalid_request_error"});
}

}  // namespace

void add_responses_routes(Router& router) {
  router.add({"POST", "/v1/responses", responses, false, false, false, true, "Answers, in OpenAI's newer shape"});
  router.add({"GET", "/v1/responses/*", not_stored, false, false, false, false, "404: responses are not stored"});
  router.add({"POST", "/v1/responses/*", not_stored, false, false, false, false, "404: responses are not stored"});
}

}  // namespace carat::server
