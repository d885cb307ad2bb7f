// /api/generate, /api/chat and /api/embed, as Ollama answers them: lines of JSON, or one object.
#include <fmt/format.h>

#include <chrono>

#include "server/embedding.h"
#include "server/errors.h"
#include "server/framing.h"
#include "server/json_text.h"
#include "server/ollama_requests.h"
#include "server/pictures.h"
#include "server/prompts.h"
#include "server/request_log.h"

namespace carat::server {
namespace {

using Clock = std::chrono::steady_clock;

int64_t nanoseconds(double seconds) { return static_cast<int64_t>(seconds * 1e9); }

// Everything about one answer that its lines repeat.
struct Context {
  std::string model;  // as the client wrote it
  bool is_chat = false;
  bool stream = true;
  bool logprobs = false;
  bool gives_context = false;    // generate without raw: the ids so far
  std::vector<int32_t> context;  // of the prompt, without <bos>
  Clock::time_point began = Clock::now();
  double load_seconds = 0;
};

// An answer that fills the context goes on: the beginning and the second half of all that was said are its new prompt.
struct Shift {
  GenerationRequest again;    // but for the prompt
  std::vector<int32_t> said;  // prompt and answer
  int32_t room = 0;           // positions of the context
  int32_t keep = 0;
  int32_t left = 0;  // tokens that the answer may still have

  // The prompt of what follows; nothing where no room can be made.
  std::vector<int32_t> next_prompt() const {
    if (keep >= room - 1) return {};
    const int32_t dropped = std::max(1, (room - keep) / 2);
    const int64_t rest = int64_t{keep} + dropped;
    if (rest >= static_cast<int64_t>(said.size())) return {};
    std::vector<int32_t> ids(said.begin(), said.begin() + keep);
    ids.insert(ids.end(), said.begin() + rest, said.end());
    return ids;
  }
};

void write_logprobs(JsonWriter& json, const Tokenizer& tokenizer, std::span<const TokenInfo> tokens) {
  const auto write = [&](int32_t id, float logprob) {
    const std::string_view text = tokenizer.piece_text(id, true);
    json.field("token", text).field("logprob", logprob).key("bytes").begin_array();
    for (const char c : text) json.value(static_cast<int32_t>(static_cast<unsigned char>(c)));
    json.end_array();
  };
  json.key("logprobs").begin_array();
  for (const TokenInfo& token : tokens) {
    json.begin_object();
    write(token.id, token.logprob);
    if (!token.top.empty()) {
      json.key("top_logprobs").begin_array();
      for (const TokenLogprob& top : token.top) {
        json.begin_object();
        write(top.id, top.logprob);
        json.end_object();
      }
      json.end_array();
    }
    json.end_object();
  }
  json.end_array();
}

void write_start(JsonWriter& json, const Context& context, std::string_view text, std::string_view calls = {}) {
  json.begin_object().field("model", context.model).field("created_at", timestamp_now());
  if (context.is_chat) {
    json.key("message").begin_object().field("role", "assistant").field("content", text);
    if (!calls.empty()) json.raw_field("tool_calls", calls);
    json.end_object();
  } else {
    json.field("response", text);
  }
}

class Answer final : public GenerationSink, public std::enable_shared_from_this<Answer> {
 public:
  Answer(ExchangePtr exchange, Lease model, Context context, std::unique_ptr<chat::ToolScanner> scanner,
         std::optional<Shift> shift)
      : exchange_(std::move(exchange)),
        model_(std::move(model)),
        context_(std::move(context)),
        scanner_(std::move(scanner)),
        shift_(std::move(shift)) {}

  // False: the queue is full.
  bool start(GenerationRequest request) {
    const auto id = model_->generations->start(std::move(request), shared_from_this(), model_);
    if (!id) return false;
    exchange_->on_gone([model = model_, id = *id] { model->generations->cancel(id); });
    return true;
  }

  void on_text(std::string_view text, std::span<const TokenInfo> tokens, bool last) override {
    if (context_.gives_context) {
      for (const TokenInfo& token : tokens) context_.context.push_back(token.id);
    }
    if (shift_) {
      for (const TokenInfo& token : tokens) shift_->said.push_back(token.id);
    }
    if (context_.logprobs) tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    if (scanner_) {
      take(scanner_->push(text));
      if (last) take(scanner_->finish());
      // Cut off by its length: no object, so it is what has been said.
      if (last && calling_) text_ += fmt::format(R"({{"name": "{}", "parameters": {})", call_.name, call_.arguments);
    } else {
      text_ += text;
    }
    if (!context_.stream || (text_.empty() && calls_.empty())) return;
    begin();
    JsonWriter json;
    write_start(json, context_, text_, calls_json());
    json.field("done", false);
    if (context_.logprobs) write_logprobs(json, *model_->tokenizer, tokens_);
    json.end_object();
    exchange_->write(ndjson_line(json.text()));
    text_.clear();
    tokens_.clear();
  }

  void on_end(const GenerationEnd& part) override {
    if (part.finish == FinishReason::kLength && shift_ && goes_on(part.usage)) return;
    GenerationEnd end = part;
    add(end.usage, before_);
    exchange_->note({context_.model, end.usage.prompt_tokens, end.usage.reused_tokens, end.usage.generated_tokens,
                     finish_name(end.finish)});
    if (end.finish == FinishReason::kError) return fail(*end.error);
    if (end.finish == FinishReason::kCancelled) return fail({ErrorCode::kCancelled, "request canceled"});
    JsonWriter json;
    write_start(json, context_, context_.stream ? std::string_view() : std::string_view(text_), calls_json());
    json.field("done", true).field("done_reason", end.finish == FinishReason::kLength ? "length" : "stop");
    if (context_.gives_context) {
      if (end.finish == FinishReason::kStop && !end.stop_text && !context_.context.empty()) context_.context.pop_back();
      json.key("context").value(std::span<const int32_t>(context_.context));
    }
    json.field("total_duration", nanoseconds(std::chrono::duration<double>(Clock::now() - context_.began).count()));
    json.field("load_duration", nanoseconds(context_.load_seconds));
    json.field("prompt_eval_count", end.usage.prompt_tokens);
    json.field("prompt_eval_cached_count", end.usage.reused_tokens);
    json.field("prompt_eval_duration", nanoseconds(end.usage.prompt_seconds));
    json.field("eval_count", end.usage.generated_tokens);
    json.field("eval_duration", nanoseconds(end.usage.generate_seconds));
    if (context_.logprobs && !context_.stream) write_logprobs(json, *model_->tokenizer, tokens_);
    json.end_object();
    if (!context_.stream) return exchange_->respond(json_response(json.take()));
    begin();
    exchange_->write(ndjson_line(json.text()));
    exchange_->end();
  }

 private:
  // Calls are told whole: their arguments are an object here.
  void take(const std::vector<chat::ToolEvent>& events) {
    using Kind = chat::ToolEvent::Kind;
    for (const chat::ToolEvent& event : events) {
      if (event.kind == Kind::kText) text_ += event.text;
      if (event.kind == Kind::kCall) call_ = {random_call_id("call_", 8), event.text, ""};
      if (event.kind != Kind::kText) calling_ = event.kind != Kind::kEnd;
      if (event.kind == Kind::kArguments) call_.arguments += event.text;
      if (event.kind != Kind::kEnd) continue;
      JsonWriter json;
      json.begin_object().field("id", call_.id).key("function").begin_object();
      json.field("index", static_cast<int64_t>(event.call)).field("name", call_.name);
      json.raw_field("arguments", call_.arguments).end_object().end_object();
      calls_ += (calls_.empty() ? "" : ",") + json.take();
    }
  }
  // Those that have not been told.
  std::string calls_json() { return calls_.empty() ? "" : "[" + std::exchange(calls_, {}) + "]"; }

  // What the parts of one answer took together; the prompt that counts is the client's.
  static void add(Usage& usage, const std::optional<Usage>& before) {
    if (!before) return;
    usage.prompt_tokens = before->prompt_tokens;
    usage.reused_tokens = before->reused_tokens;
    usage.generated_tokens += before->generated_tokens;
    usage.prompt_seconds = before->prompt_seconds;
    usage.generate_seconds += before->generate_seconds;
  }
  bool goes_on(const Usage& part) {
    shift_->left -= part.generated_tokens;
    if (shift_->left <= 0) return false;
    std::vector<int32_t> prompt = shift_->next_prompt();
    if (prompt.empty()) return false;
    Usage sum = part;
    add(sum, before_);
    GenerationRequest next = shift_->again;
    SamplingParams& sampling = next.request.sampling;
    sampling.max_tokens = std::min(shift_->left, shift_->room - static_cast<int32_t>(prompt.size()));
    sampling.min_tokens = std::max(0, sampling.min_tokens - sum.generated_tokens);
    if (sampling.seed) *sampling.seed += static_cast<uint64_t>(sum.generated_tokens);  // not the same draws again
    shift_->said = prompt;
    next.request.prompt = std::move(prompt);
    if (!start(std::move(next))) return false;
    before_ = sum;
    return true;
  }
  void begin() {
    if (std::exchange(started_, true)) return;
    exchange_->begin_stream(200, std::string(kNdjson), {});
  }
  void fail(const Error& error) {
    HttpResponse response = ollama_error(error);
    if (!started_) return exchange_->respond(std::move(response));
    exchange_->write(response.body + "\n");
    exchange_->end();
  }

  const ExchangePtr exchange_;
  const Lease model_;
  Context context_;
  const std::unique_ptr<chat::ToolScanner> scanner_;  // where functions may be called
  CalledFunction call_;                               // the last one
  bool calling_ = false;                              // it is being made
  std::string calls_;                                 // JSON of those that are complete
  std::string text_;                                  // all of it, or what the next line will say
  std::vector<TokenInfo> tokens_;                     // likewise
  bool started_ = false;
  std::optional<Shift> shift_;   // none: it ends where the context does
  std::optional<Usage> before_;  // of the parts before this one
};

std::string full_name(const std::string& name) {
  const auto parsed = ModelName::parse(name);
  return parsed ? fmt::format("{}/{}/{}:{}", parsed->host, parsed->space, parsed->model, parsed->tag) : name;
}

// What both refuse, whichever model it is.
Status check_common(const OllamaCommon& request) {
  if (request.think) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("\"{}\" does not support thinking", request.model)};
  }
  return {};
}

// A request without a prompt loads the model, or unloads it.
template <class Request>
void load_or_unload(App& app, const ExchangePtr& exchange, const Request& request, bool is_chat) {
  const auto answer = [exchange, model = request.model, is_chat](const char* reason) {
    JsonWriter json;
    write_start(json, {model, is_chat, false, false, false, {}, {}, 0}, "");
    json.field("done", true).field("done_reason", reason).end_object();
    exchange->respond(json_response(json.take()));
  };
  if (request.keep_alive == KeepAlive(0)) {
    app.models().unload(request.model);
    return answer("unload");
  }
  chat::GenerationOptions options;
  if (const Status status = apply_ollama_options(options, request.options); !status.ok()) {
    return exchange->respond(ollama_error(status.error()));
  }
  app.models().acquire(request.model, options.context, request.keep_alive,
                       [exchange, answer](const Result<Lease>& lease) {
                         if (!lease) return exchange->respond(ollama_error(lease.error()));
                         answer("load");
                       });
}

// The generation's context: what was asked for, within what the model was loaded with.
int32_t context_of(const ServedModel& model, const chat::GenerationOptions& options) {
  return options.context > 0 ? std::min(options.context, model.context) : model.context;
}

std::optional<Shape> shape_of(const OllamaCommon& request) {
  if (request.format.empty()) return std::nullopt;
  return request.format == "\"json\"" ? any_json_object() : Shape{GrammarKind::kJsonSchema, request.format};
}

// Of the beginning, <bos> included: what neither truncate nor shift takes.
int32_t kept_tokens(const OllamaCommon& request, int32_t positions) {
  return static_cast<int32_t>(std::min<int64_t>(int64_t{request.num_keep} + 1, positions - 1));
}

// Too long: the beginning and the last tokens stay, as Ollama has it. A picture is never cut.
Status cut_middle(std::vector<int32_t>& ids, const OllamaCommon& request, int32_t positions, bool has_pictures) {
  const auto room = static_cast<size_t>(positions) - 1;
  if (ids.size() <= room) return {};
  if (!request.truncate || has_pictures)
    return Error{ErrorCode::kTooLong, "the input length exceeds the context length"};
  const auto kept = std::min(static_cast<size_t>(kept_tokens(request, positions)), room / 2);
  ids.erase(ids.begin() + static_cast<ptrdiff_t>(kept), ids.end() - static_cast<ptrdiff_t>(room - kept));
  return {};
}

void start(App& app, const ExchangePtr& exchange, const Lease& lease, Context context, std::vector<int32_t> prompt,
           std::vector<ImageSpan> images, const chat::GenerationOptions& options, const OllamaCommon& request,
           bool trim) {
  GenerationRequest generation;
  const int32_t positions = context_of(*lease, options);
  const int32_t room = std::max(0, positions - static_cast<int32_t>(prompt.size()));
  generation.request.prompt = std::move(prompt);
  generation.request.images = std::move(images);
  generation.request.sampling = options.sampling;
  int32_t& most = generation.request.sampling.max_tokens;
  const int32_t wanted = most;
  most = most < 0 ? room : std::min(most, room);
  generation.request.sampling.logprobs = request.logprobs;
  generation.request.sampling.top_logprobs = request.logprobs ? request.top_logprobs : 0;
  generation.stops = options.stops;
  generation.trim_leading_space = trim;
  generation.client = exchange->request().account;
  generation.request.cache_salt = cache_salt(exchange->request());
  const std::optional<Shape> asked = shape_of(request);
  const auto whole = request.tools.shape(asked);
  if (!whole) return exchange->respond(ollama_error(whole.error()));
  if (*whole) {
    auto shape = lease->begin(**whole);
    const std::string what = asked ? "format: " : "tools: ";
    if (!shape) return exchange->respond(ollama_error({shape.error().code, what + shape.error().message}));
    generation.request.constraint = std::move(*shape);
  }
  auto scanner = request.tools.scanner(asked, lease->format.marks_calls());
  std::optional<Shift> shift;
  const int32_t limit = 10 * positions;  // of an answer without one, as Ollama has it
  if (request.shift && !generation.request.constraint && generation.request.images.empty() && !scanner &&
      (wanted < 0 || wanted > room)) {
    shift = Shift{generation, generation.request.prompt, positions, kept_tokens(request, positions),
                  wanted < 0 ? limit : std::min(wanted, limit)};
    shift->again.trim_leading_space = false;
  }
  const auto answer =
      std::make_shared<Answer>(exchange, lease, std::move(context), std::move(scanner), std::move(shift));
  if (!answer->start(std::move(generation))) exchange->respond(too_busy(app.flavor(), "/api/"));
}

// The ids without <bos>, which `context` does not repeat.
std::vector<int32_t> without_bos(const std::vector<int32_t>& ids, int32_t bos) {
  return {ids.begin() + (!ids.empty() && ids.front() == bos ? 1 : 0), ids.end()};
}

// `context` cannot hold pictures: the next request goes on without them.
std::vector<int32_t> without_pictures(const ServedModel& model, std::vector<int32_t> ids) {
  if (!model.pictures) return ids;
  const VisionConfig& config = model.pictures->config();
  std::erase_if(ids, [&](int32_t id) { return id == config.begin_id || id == config.soft_id || id == config.end_id; });
  return ids;
}

// [img-0], [img-1] and so on are the pictures; those that the prompt does not name come first.
std::string raw_prompt(std::string text, const SeenPictures& seen) {
  std::string before;
  for (size_t i = 0; i < seen.size(); ++i) {
    const std::string mark = fmt::format("[img-{}]", i);
    const size_t at = text.find(mark);
    if (at == std::string::npos)
      before += seen[i].text;
    else
      text.replace(at, mark.size(), seen[i].text);
  }
  return before + text;
}

void generate_with(App& app, const ExchangePtr& exchange, const OllamaGenerate& request, const Lease& lease,
                   Context context, const SeenPictures& seen) {
  const auto refuse = [&](const Error& error) { exchange->respond(ollama_error(error)); };
  chat::GenerationOptions options = lease->defaults;
  if (const Status status = apply_ollama_options(options, request.options); !status.ok()) return refuse(status.error());
  std::optional<chat::PromptFormat> asked_for;
  if (request.prompt_template) {
    auto made = chat::PromptFormat::of_template(*request.prompt_template);
    if (!made) return refuse(made.error());
    asked_for = std::move(*made);
  }
  const chat::PromptFormat& format = asked_for ? *asked_for : lease->format;
  const int32_t bos = lease->config().bos_id;
  std::vector<int32_t> ids;
  if (request.raw) {
    ids = encode_text_prompt(*lease, raw_prompt(request.prompt, seen), true);
    expand_pictures(*lease, seen, ids);
  } else {
    ChatPrompt prompt;
    const std::string& system = request.has_system ? request.system : lease->model.resolved.system;
    if (!system.empty()) prompt.messages.push_back(ChatMessage::of_text("system", system));
    prompt.messages.push_back(chat::message_with(seen, request.prompt));
    auto encoded = encode_chat_prompt(*lease, format, prompt);
    if (!encoded) return refuse(encoded.error());
    ids = std::move(*encoded);
    expand_pictures(*lease, seen, ids);
    if (!request.context.empty()) {
      std::vector<int32_t> whole;
      if (lease->config().adds_bos && request.context.front() != bos) whole.push_back(bos);
      whole.insert(whole.end(), request.context.begin(), request.context.end());
      const std::vector<int32_t> rest = without_bos(ids, bos);
      whole.insert(whole.end(), rest.begin(), rest.end());
      ids = std::move(whole);
    }
    context.gives_context = true;
    context.context = without_pictures(
        *lease, request.context.empty() || request.context.front() != bos ? without_bos(ids, bos) : ids);
  }
  const Status cut = cut_middle(ids, request, context_of(*lease, options), !seen.empty());
  if (!cut.ok()) return refuse(cut.error());
  auto images = place_pictures(*lease, seen.size(), seen, ids);
  if (!images) return refuse(images.error());
  start(app, exchange, lease, std::move(context), std::move(ids), std::move(*images), options, request,
        !request.raw && !request.prompt_template && format.trims_leading_space());
}

void generate(App& app, const ExchangePtr& exchange) {
  auto parsed = parse_ollama_generate(exchange->request().body);
  if (!parsed) return exchange->respond(ollama_error(parsed.error()));
  auto request = std::make_shared<OllamaGenerate>(std::move(*parsed));
  if (const auto found = app.models().find(request->model); !found) {
    return exchange->respond(ollama_error(404, fmt::format("model '{}' not found", request->model)));
  }
  if (const Status status = check_common(*request); !status.ok())
    return exchange->respond(ollama_error(status.error()));
  if (!request->suffix.empty()) {
    return exchange->respond(ollama_error(400, fmt::format("{} does not support insert", full_name(request->model))));
  }
  if (request->raw && (request->prompt_template || request->has_system || !request->context.empty())) {
    return exchange->respond(ollama_error(400, "raw mode does not support template, system, or context"));
  }
  if (request->prompt.empty()) return load_or_unload(app, exchange, *request, false);

  chat::GenerationOptions options;
  if (const Status status = apply_ollama_options(options, request->options); !status.ok()) {
    return exchange->respond(ollama_error(status.error()));
  }
  Context context;
  context.model = request->model;
  context.stream = request->stream;
  context.logprobs = request->logprobs;
  app.models().acquire(request->model, options.context, request->keep_alive,
                       [&app, exchange, request, context](const Result<Lease>& lease) mutable {
                         if (!lease) return exchange->respond(ollama_error(lease.error()));
                         context.load_seconds = std::chrono::duration<double>(Clock::now() - context.began).count();
                         look(app, exchange, *lease, request->pictures,
                              [&app, exchange, request, context, lease = *lease](const Result<SeenPictures>& seen) {
                                if (!seen) return exchange->respond(ollama_error(seen.error()));
                                generate_with(app, exchange, *request, lease, context, *seen);
                              });
                       });
}

// The model's own system text and saved conversation come first, unless the client brings a system text.
std::vector<ChatMessage> whole_conversation(const OllamaChat& request, const ResolvedModel& model) {
  std::vector<ChatMessage> all;
  if (request.messages.front().role != "system" && !model.system.empty()) {
    all.push_back(ChatMessage::of_text("system", model.system));
  }
  for (const ManifestMessage& message : model.messages)
    all.push_back(ChatMessage::of_text(message.role, message.content));
  all.insert(all.end(), request.messages.begin(), request.messages.end());
  return all;
}

void chat_with(App& app, const ExchangePtr& exchange, const OllamaChat& request, const Lease& lease, Context context,
               const SeenPictures& seen) {
  const auto refuse = [&](const Error& error) { exchange->respond(ollama_error(error)); };
  chat::GenerationOptions options = lease->defaults;
  if (const Status status = apply_ollama_options(options, request.options); !status.ok()) return refuse(status.error());
  ChatPrompt prompt;
  auto messages =
      with_tools(*lease, whole_conversation(request, lease->model.resolved), request.tools, shape_of(request));
  if (!messages) return refuse(messages.error());
  prompt.messages = collated(std::move(*messages));
  prompt.continue_final = prompt.messages.back().role == "assistant";
  describe_pictures(prompt.messages, seen);
  const auto room = static_cast<size_t>(context_of(*lease, options)) - 1;
  // Too long: the oldest turns go, two at a time so that the roles still alternate; the system text stays.
  while (true) {
    auto encoded = encode_chat_prompt(*lease, lease->format, prompt);
    if (!encoded) return refuse(encoded.error());
    expand_pictures(*lease, seen, *encoded);
    const size_t first = prompt.messages.front().role == "system" ? 1 : 0;
    if (encoded->size() <= room || !request.truncate || prompt.messages.size() < first + 3) {
      const Status cut = cut_middle(*encoded, request, context_of(*lease, options), !seen.empty());
      if (!cut.ok()) return refuse(cut.error());
      auto images = place_pictures(*lease, picture_parts(prompt.messages), seen, *encoded);
      if (!images) return refuse(images.error());
      return start(app, exchange, lease, std::move(context), std::move(*encoded), std::move(*images), options, request,
                   lease->format.trims_leading_space());
    }
    const auto begin = prompt.messages.begin() + static_cast<ptrdiff_t>(first);
    prompt.messages.erase(begin, begin + 2);
  }
}

void chat(App& app, const ExchangePtr& exchange) {
  auto parsed = parse_ollama_chat(exchange->request().body);
  if (!parsed) return exchange->respond(ollama_error(parsed.error()));
  auto request = std::make_shared<OllamaChat>(std::move(*parsed));
  if (const auto found = app.models().find(request->model); !found) {
    return exchange->respond(ollama_error(404, fmt::format("model '{}' not found", request->model)));
  }
  if (const Status status = check_common(*request); !status.ok())
    return exchange->respond(ollama_error(status.error()));
  if (request->messages.empty()) return load_or_unload(app, exchange, *request, true);

  chat::GenerationOptions options;
  if (const Status status = apply_ollama_options(options, request->options); !status.ok()) {
    return exchange->respond(ollama_error(status.error()));
  }
  Context context;
  context.model = request->model;
  context.is_chat = true;
  context.stream = request->stream;
  context.logprobs = request->logprobs;
  app.models().acquire(request->model, options.context, request->keep_alive,
                       [&app, exchange, request, context](const Result<Lease>& lease) mutable {
                         if (!lease) return exchange->respond(ollama_error(lease.error()));
                         context.load_seconds = std::chrono::duration<double>(Clock::now() - context.began).count();
                         look(app, exchange, *lease, request->pictures,
                              [&app, exchange, request, context, lease = *lease](const Result<SeenPictures>& seen) {
                                if (!seen) return exchange->respond(ollama_error(seen.error()));
                                chat_with(app, exchange, *request, lease, context, *seen);
                              });
                       });
}

void embed_any(App& app, const ExchangePtr& exchange, bool old_form) {
  const auto request = parse_ollama_embed(exchange->request().body, old_form);
  if (!request) return exchange->respond(ollama_error(request.error()));
  if (const auto found = app.models().find(request->model); !found) {
    return exchange->respond(ollama_error(404, fmt::format("model '{}' not found", request->model)));
  }
  if (request->input.size() > 2048) return exchange->respond(ollama_error(400, "more than 2048 texts"));
  if (request->input.empty()) {
    JsonWriter json;
    json.begin_object();
    if (!old_form) json.field("model", request->model);
    json.key(old_form ? "embedding" : "embeddings").begin_array().end_array().end_object();
    return exchange->respond(json_response(json.take()));
  }
  const auto began = Clock::now();
  app.models().acquire(
      request->model, 0, request->keep_alive, [exchange, request = *request, began](const Result<Lease>& lease) {
        if (!lease) return exchange->respond(ollama_error(lease.error()));
        const double load_seconds = std::chrono::duration<double>(Clock::now() - began).count();
        std::vector<std::vector<int32_t>> prompts;
        for (const std::string& text : request.input) {
          std::vector<int32_t> ids = (*lease)->tokenizer->encode(text);
          if ((*lease)->config().adds_bos) ids.insert(ids.begin(), (*lease)->config().bos_id);
          const auto room = static_cast<size_t>((*lease)->context);
          if (ids.size() > room) {
            if (!request.truncate)
              return exchange->respond(ollama_error(400, "the input length exceeds the context length"));
            ids.resize(room);
          }
          prompts.push_back(std::move(ids));
        }
        embed(
            *lease, exchange, std::move(prompts), request.dimensions,
            [exchange, request, load_seconds](const Result<Embeddings>& made) {
              if (!made) return exchange->respond(ollama_error(made.error()));
              JsonWriter json;
              json.begin_object();
              const auto write = [&](const std::vector<float>& values) {
                json.begin_array();
                for (const float value : values) json.value(value);
                json.end_array();
              };
              if (request.old_form) {
                json.key("embedding");
                write(made->vectors.front());
              } else {
                json.field("model", request.model).key("embeddings").begin_array();
                for (const std::vector<float>& values : made->vectors) write(values);
                json.end_array().field("total_duration", nanoseconds(load_seconds + made->seconds));
                json.field("load_duration", nanoseconds(load_seconds)).field("prompt_eval_count", made->prompt_tokens);
              }
              json.end_object();
              exchange->respond(json_response(json.take()));
            });
      });
}

void embed_new(App& app, const ExchangePtr& exchange) { embed_any(app, exchange, false); }
void embed_old(App& app, const ExchangePtr& exchange) { embed_any(app, exchange, true); }

}  // namespace

void add_ollama_routes(Router& router) {
  router.add({"POST", "/api/generate", generate, false, false, false, true, "Completes a prompt (Ollama)"});
  router.add({"POST", "/api/chat", chat, false, false, false, true, "Goes on with a conversation (Ollama)"});
  router.add({"POST", "/api/embed", embed_new, false, false, false, false, "Embeddings of texts (Ollama)"});
  router.add(
      {"POST", "/api/embeddings", embed_old, false, false, false, false, "The embedding of a text (Ollama, old)"});
}

}  // namespace carat::server
