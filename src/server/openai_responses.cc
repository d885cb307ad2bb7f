// OpenAI's /v1/responses, without a memory: nothing is stored, so nothing can be fetched or continued later.
#include <fmt/format.h>

#include "server/framing.h"
#include "server/openai_answer.h"
#include "server/pictures.h"
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
  std::string id = random_id("resp_");
  int64_t created = unix_now();
};

// A part of the output: a message, or a call.
struct Item {
  bool is_call = false;
  std::string id;
  std::string text;           // said; or the call's arguments
  std::string call_id, name;  // of a call
};

class Answer final : public GenerationSink {
 public:
  explicit Answer(Context context)
      : context_(std::move(context)),
        scanner_(context_.request.tools.scanner(context_.request.shape, context_.model->format.marks_calls())) {}

  void on_text(std::string_view text, std::span<const TokenInfo>, bool last) override {
    if (!scanner_) {
      if (!text.empty()) say(text);
      return;
    }
    take(scanner_->push(text));
    if (last) take(scanner_->finish());
  }

  void on_end(const GenerationEnd& end) override {
    context_.exchange->note({context_.request.model, end.usage.prompt_tokens, end.usage.reused_tokens,
                             end.usage.generated_tokens, finish_name(end.finish)});
    if (end.finish == FinishReason::kError || end.finish == FinishReason::kCancelled) return fail(end);
    if (items_.empty()) open({false, random_id("msg_"), {}, {}, {}});
    if (!context_.request.stream) {
      JsonWriter json;
      write_response(json, &end);
      return context_.exchange->respond({200, "application/json", json.take(), {}});
    }
    close(end.finish == FinishReason::kLength);
    JsonWriter json = event();
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

  void take(const std::vector<chat::ToolEvent>& events) {
    for (const chat::ToolEvent& told : events) {
      switch (told.kind) {
        case chat::ToolEvent::Kind::kText:
          say(told.text);
          break;
        case chat::ToolEvent::Kind::kCall:
          open({true, random_id("fc_"), {}, random_id("call_"), told.text});
          break;
        case chat::ToolEvent::Kind::kArguments:
          add(told.text, "response.function_call_arguments.delta");
          break;
        case chat::ToolEvent::Kind::kEnd:
          break;
      }
    }
  }

  void say(std::string_view text) {
    if (items_.empty() || items_.back().is_call) open({false, random_id("msg_"), {}, {}, {}});
    add(text, "response.output_text.delta");
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
  }

  // An event about the item that is being made.
  JsonWriter item_event() const {
    JsonWriter json = event();
    if (!items_.back().is_call) json.field("content_index", 0);
    json.field("item_id", items_.back().id).field("output_index", static_cast<int64_t>(items_.size()) - 1);
    return json;
  }

  void open(Item item) {
    if (context_.request.stream) begin();
    if (context_.request.stream && !items_.empty()) close(false);
    items_.push_back(std::move(item));
    if (!context_.request.stream) return;
    JsonWriter json = event();
    json.key("item");
    write_item(json, items_.back(), "in_progress", false);
    json.field("output_index", static_cast<int64_t>(items_.size()) - 1);
    send("response.output_item.added", json);
    if (items_.back().is_call) return;
    json = item_event();
    json.key("part").begin_object();
    json.key("annotations").begin_array().end_array().field("text", "").field("type", "output_text");
    json.key("logprobs").begin_array().end_array().end_object();
    send("response.content_part.added", json);
  }

  void add(std::string_view text, std::string_view name) {
    items_.back().text += text;
    if (!context_.request.stream) return;
    JsonWriter json = item_event();
    json.field("delta", text);
    if (!items_.back().is_call) json.key("logprobs").begin_array().end_array();
    send(name, json);
  }

  void close(bool cut) {
    const Item& item = items_.back();
    JsonWriter json = item_event();
    if (item.is_call) {
      json.field("arguments", item.text).field("name", item.name);
      send("response.function_call_arguments.done", json);
    } else {
      json.key("logprobs").begin_array().end_array().field("text", item.text);
      send("response.output_text.done", json);
      json = item_event();
      json.key("part");
      write_part(json, item);
      send("response.content_part.done", json);
    }
    json = event();
    json.key("item");
    write_item(json, item, status_of(item, cut), true);
    json.field("output_index", static_cast<int64_t>(items_.size()) - 1);
    send("response.output_item.done", json);
  }

  void fail(const GenerationEnd& end) {
    const Error error = end.error ? *end.error : Error{ErrorCode::kCancelled, "the request was cancelled"};
    const OpenAiError told{end.finish == FinishReason::kCancelled ? 503 : http_status(error.code), error.message, "",
                           ""};
    if (!begun_) return context_.exchange->respond(openai_error(context_.flavor, told));
    context_.exchange->write(sse_event("error", openai_error_json(context_.flavor, told)));
    context_.exchange->end();
  }

  void write_part(JsonWriter& json, const Item& item) const {
    json.begin_object()
        .key("annotations")
        .begin_array()
        .end_array()
        .field("text", item.text)
        .field("type", "output_text");
    if (context_.flavor == Flavor::kVllm)
      json.null_field("logprobs");
    else
      json.key("logprobs").begin_array().end_array();
    json.end_object();
  }

  void write_item(JsonWriter& json, const Item& item, const char* status, bool whole) const {
    json.begin_object().field("id", item.id);
    if (item.is_call) {
      json.field("type", "function_call").field("call_id", item.call_id).field("name", item.name);
      json.field("arguments", whole ? item.text : std::string()).field("status", status).end_object();
      return;
    }
    json.key("content").begin_array();
    if (whole) write_part(json, item);
    json.end_array().field("role", "assistant").field("status", status).field("type", "message").null_field("phase");
    json.key("summary").begin_array().end_array().end_object();
  }

  // A call that was cut off is not to be made.
  const char* status_of(const Item& item, bool cut) const {
    return cut && item.is_call && &item == &items_.back() ? "incomplete" : "completed";
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
    for (const Item& item : items_) {
      if (end != nullptr) write_item(json, item, status_of(item, cut), true);
    }
    const OfferedTools& tools = context_.request.tools;
    json.end_array().null_field("error").field("parallel_tool_calls", tools.parallel);
    json.field("temperature", context_.sampling.temperature).key("tool_choice");
    write_tool_choice(json, tools, as_vllm);
    json.raw_field("tools", tools.responses_json()).field("top_p", context_.sampling.top_p).field("background", false);
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

  static void write_tool_choice(JsonWriter& json, const OfferedTools& tools, bool as_vllm) {
    using Choice = OfferedTools::Choice;
    if (tools.choice == Choice::kNamed) {
      json.begin_object().field("type", "function").field("name", tools.named).end_object();
    } else if (tools.choice == Choice::kRequired) {
      json.value("required");
    } else {
      json.value(tools.choice == Choice::kNone && (as_vllm || !tools.functions.empty()) ? "none" : "auto");
    }
  }

  Context context_;
  std::unique_ptr<chat::ToolScanner> scanner_;  // where functions may be called
  std::vector<Item> items_;
  int64_t sequence_ = 0;
  bool begun_ = false;
};

void respond_with(App& app, const ExchangePtr& exchange, ResponsesRequest& request, const Lease& model,
                  const SeenPictures& seen) {
  chat::GenerationOptions options = model->defaults;
  if (const auto error = apply_sampling(options, request.sampling, model->config().vocabulary)) {
    return refuse(app, exchange, *error);
  }
  auto messages = with_tools(*model, std::move(request.messages), request.tools, request.shape);
  if (!messages) return refuse(app, exchange, {400, messages.error().message, "tools", ""});
  ChatPrompt prompt{collated(std::move(*messages)), true, false, request.tools.answer_begins()};
  describe_pictures(prompt.messages, seen);
  auto ids = encode_chat_prompt(*model, model->format, prompt);
  if (!ids) return refuse(app, exchange, {400, ids.error().message, "", ""});
  expand_pictures(*model, seen, *ids);
  auto images = place_pictures(*model, seen.size(), seen, *ids);
  if (!images) return refuse(app, exchange, {400, images.error().message, "", ""});
  const Room room = room_for(*model, ids->size(), request.sampling.max_tokens, false);
  if (room.error) return refuse(app, exchange, *room.error);
  options.sampling.max_tokens = room.max_tokens;
  GenerationRequest generation;
  generation.request.prompt = std::move(*ids);
  generation.request.images = std::move(*images);
  generation.request.sampling = options.sampling;
  generation.stops = options.stops;
  generation.trim_leading_space = model->format.trims_leading_space();
  generation.include_stop = request.sampling.include_stop;
  generation.special_tokens = !request.sampling.skip_special_tokens;
  generation.priority = request.priority;
  generation.request.rules = rules_of(*model, request.sampling.allowed_ids, request.sampling.bad_words);
  generation.client = exchange->request().account;
  generation.request.cache_salt = cache_salt(exchange->request(), request.cache_salt);
  const char* part = request.shape ? "text.format" : "tools";
  const auto whole = request.tools.shape(request.shape);
  if (!whole) return refuse(app, exchange, {400, whole.error().message, part, ""});
  if (*whole) {
    auto shape = model->begin(**whole);
    if (!shape) return refuse(app, exchange, {400, "Grammar error: " + shape.error().message, part, ""});
    generation.request.constraint = std::move(*shape);
  }
  Context context{exchange, model, request, options.sampling, app.flavor()};
  const auto id = model->generations->start(std::move(generation), std::make_shared<Answer>(std::move(context)), model);
  if (!id) return exchange->respond(too_busy(app.flavor(), "/v1/"));
  exchange->on_gone([model, id = *id] { model->generations->cancel(id); });
}

void responses(App& app, const ExchangePtr& exchange) {
  auto parsed = parse_responses(app.flavor(), exchange->request().body, app.options().max_logprobs);
  if (parsed.error) return refuse(app, exchange, *parsed.error);
  auto request = std::make_shared<ResponsesRequest>(std::move(parsed.request));
  acquire_openai(app, exchange, request->model, [&app, exchange, request](const Lease& model) {
    look(app, exchange, model, std::move(request->pictures),
         [&app, exchange, request, model](const Result<SeenPictures>& seen) {
           if (!seen) return refuse(app, exchange, {http_status(seen.error().code), seen.error().message, "", ""});
           respond_with(app, exchange, *request, model, *seen);
         });
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
