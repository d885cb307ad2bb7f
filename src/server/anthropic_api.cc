// Anthropic's /v1/messages and /v1/messages/count_tokens.
#include <fmt/format.h>

#include "server/framing.h"
#include "server/openai_answer.h"
#include "server/pictures.h"
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
  OfferedTools tools;
  std::string id = random_id("msg_");
};

// A part of the content: a text, or a call.
struct Block {
  bool is_call = false;
  std::string text;      // said; or the call's input
  std::string id, name;  // of a call
};

class Answer final : public GenerationSink {
 public:
  explicit Answer(Context context)
      : context_(std::move(context)),
        scanner_(context_.tools.scanner(std::nullopt, context_.model->format.marks_calls())) {}

  void on_text(std::string_view text, std::span<const TokenInfo>, bool last) override {
    if (!scanner_) {
      if (!text.empty()) say(text);
      return;
    }
    take(scanner_->push(text));
    if (last) take(scanner_->finish());
  }

  void on_end(const GenerationEnd& end) override {
    context_.exchange->note({context_.name, end.usage.prompt_tokens, end.usage.reused_tokens,
                             end.usage.generated_tokens, finish_name(end.finish)});
    if (end.finish == FinishReason::kError || end.finish == FinishReason::kCancelled) return fail(end);
    if (blocks_.empty()) open({});
    JsonWriter json;
    if (!context_.stream) {
      write_head(json);
      json.key("content").begin_array();
      for (const Block& block : blocks_) write_block(json, block, true);
      json.end_array();
      write_stop(json, end);
      write_usage(json, end.usage.generated_tokens, end.usage.reused_tokens);
      json.end_object();
      return context_.exchange->respond({200, "application/json", json.take(), {}});
    }
    close();
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
  void take(const std::vector<chat::ToolEvent>& events) {
    for (const chat::ToolEvent& told : events) {
      switch (told.kind) {
        case chat::ToolEvent::Kind::kText:
          say(told.text);
          break;
        case chat::ToolEvent::Kind::kCall:
          open({true, {}, random_call_id("toolu_", 24), told.text});
          break;
        case chat::ToolEvent::Kind::kArguments:
          add(told.text);
          break;
        case chat::ToolEvent::Kind::kEnd:
          break;
      }
    }
  }

  void say(std::string_view text) {
    if (blocks_.empty() || blocks_.back().is_call) open({});
    add(text);
  }

  void open(Block block) {
    if (context_.stream) begin();
    if (context_.stream && !blocks_.empty()) close();
    blocks_.push_back(std::move(block));
    if (!context_.stream) return;
    JsonWriter json;
    json.begin_object().field("type", "content_block_start").key("content_block");
    write_block(json, blocks_.back(), false);
    send("content_block_start", json);
  }

  void add(std::string_view text) {
    Block& block = blocks_.back();
    block.text += text;
    if (!context_.stream) return;
    JsonWriter json;
    json.begin_object().field("type", "content_block_delta").key("delta").begin_object();
    json.field("type", block.is_call ? "input_json_delta" : "text_delta");
    json.field(block.is_call ? "partial_json" : "text", text).end_object();
    send("content_block_delta", json);
  }

  void close() {
    JsonWriter json;
    json.begin_object().field("type", "content_block_stop");
    send("content_block_stop", json);
  }

  // An event of the last block.
  void send(std::string_view name, JsonWriter& json) {
    json.field("index", static_cast<int64_t>(blocks_.size()) - 1).end_object();
    context_.exchange->write(sse_event(name, json.text()));
  }

  static void write_block(JsonWriter& json, const Block& block, bool whole) {
    json.begin_object();
    if (block.is_call) {
      // What was cut off is no JSON: it is given as nothing, and the reason of the end says why.
      const bool complete = whole && block.text.ends_with('}');
      json.field("type", "tool_use").field("id", block.id).field("name", block.name);
      json.raw_field("input", complete ? block.text : "{}").end_object();
    } else {
      json.field("type", "text").field("text", block.text).end_object();
    }
  }

  const char* stop_reason(const GenerationEnd& end) const {
    if (end.finish == FinishReason::kLength) return "max_tokens";
    if (end.stop_text) return "stop_sequence";
    return scanner_ && scanner_->calls() > 0 ? "tool_use" : "end_turn";
  }
  void write_stop(JsonWriter& json, const GenerationEnd& end) const {
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
  }

  void fail(const GenerationEnd& end) {
    const Error error = end.error ? *end.error : Error{ErrorCode::kCancelled, "the request was cancelled"};
    const int status = end.finish == FinishReason::kCancelled ? 503 : http_status(error.code);
    if (!begun_) return context_.exchange->respond(anthropic_error(status, error.message));
    context_.exchange->write(sse_event("error", anthropic_error_json(status, error.message)));
    context_.exchange->end();
  }

  Context context_;
  std::unique_ptr<chat::ToolScanner> scanner_;  // where functions may be called
  std::vector<Block> blocks_;
  bool begun_ = false;
};

// The request with its prompt's ids, for both; `ready` runs on a worker.
void prepare(App& app, const ExchangePtr& exchange, bool counting,
             std::function<void(const Lease&, MessagesRequest&, std::vector<int32_t>, std::vector<ImageSpan>)> ready) {
  auto parsed = parse_messages(app.flavor(), exchange->request().body, counting);
  if (parsed.error) return refuse(exchange, *parsed.error);
  auto request = std::make_shared<MessagesRequest>(std::move(parsed.request));
  if (const auto error = missing_model(app, request->model)) {
    return refuse(exchange, {404, fmt::format("model: {}", request->model), "", ""});
  }
  const std::string name = request->model.empty() ? app.models().pinned_names()[0] : request->model;
  const auto encode = [exchange, request, counting, ready = std::move(ready)](const Lease& model,
                                                                              const SeenPictures& seen) {
    auto messages = with_tools(*model, std::move(request->messages), request->tools, std::nullopt);
    if (!messages) return refuse(exchange, {400, messages.error().message, "", ""});
    ChatPrompt prompt{collated(std::move(*messages)), true, false, request->tools.answer_begins()};
    prompt.continue_final = prompt.messages.back().role == "assistant";
    describe_pictures(prompt.messages, seen);
    auto ids = encode_chat_prompt(*model, model->format, prompt);
    if (!ids) return refuse(exchange, {400, ids.error().message, "", ""});
    expand_pictures(*model, seen, *ids);
    std::vector<ImageSpan> images;
    if (!counting) {
      auto placed = place_pictures(*model, seen.size(), seen, *ids);
      if (!placed) return refuse(exchange, {400, placed.error().message, "", ""});
      images = std::move(*placed);
    }
    ready(model, *request, std::move(*ids), std::move(images));
  };
  app.models().acquire(name, 0, std::nullopt, [&app, exchange, request, counting, encode](const Result<Lease>& lease) {
    const auto refuse_for = [&exchange](const Error& error) {
      refuse(exchange, {http_status(error.code), error.message, "", ""});
    };
    if (!lease) return refuse_for(lease.error());
    const size_t count = request->pictures.sources.size();
    if (counting && count > 0) {
      if (!(*lease)->pictures) return refuse_for((*lease)->refuses_pictures);
      return encode(*lease, unseen_pictures(**lease, count));
    }
    look(app, exchange, *lease, std::move(request->pictures),
         [exchange, encode, model = *lease](const Result<SeenPictures>& seen) {
           if (!seen) return refuse(exchange, {http_status(seen.error().code), seen.error().message, "", ""});
           encode(model, *seen);
         });
  });
}

void messages(App& app, const ExchangePtr& exchange) {
  prepare(app, exchange, false,
          [&app, exchange](const Lease& model, MessagesRequest& request, std::vector<int32_t> ids,
                           std::vector<ImageSpan> images) {
            chat::GenerationOptions options = model->defaults;
            if (const auto error = apply_sampling(options, request.sampling, model->config().vocabulary))
              return refuse(exchange, *error);
            const Room room = room_for(*model, ids.size(), request.sampling.max_tokens, false);
            if (room.error) return refuse(exchange, *room.error);
            options.sampling.max_tokens = room.max_tokens;
            GenerationRequest generation;
            const auto whole = request.tools.shape(std::nullopt);
            if (!whole) return refuse(exchange, {400, whole.error().message, "", ""});
            if (*whole) {
              auto shape = model->begin(**whole);
              if (!shape) return refuse(exchange, {400, "tools: " + shape.error().message, "", ""});
              generation.request.constraint = std::move(*shape);
            }
            Context context{exchange,     model, request.model, request.stream, static_cast<int64_t>(ids.size()),
                            request.tools};
            generation.request.prompt = std::move(ids);
            generation.request.images = std::move(images);
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
  prepare(app, exchange, true,
          [exchange](const Lease&, MessagesRequest&, const std::vector<int32_t>& ids, const std::vector<ImageSpan>&) {
            exchange->respond(
                {200,
                 "application/json",
                 fmt::format("{{\"input_tokens\":{0},\"context_management\":{{\"original_input_tokens\":{0}}}}}",
                             ids.size()),
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
