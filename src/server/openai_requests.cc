#include "server/openai_requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "server/fields.h"
#include "server/message_requests.h"
#include "server/python_float.h"
#include "server/tool_requests.h"
#include "store/json_access.h"

namespace carat::server {
namespace {

OpenAiError bad(std::string message, std::string parameter = "") {
  return {400, std::move(message), std::move(parameter), ""};
}

// Of the first call that finds a fault; later ones keep it.
void fail(std::optional<OpenAiError>& error, OpenAiError found) {
  if (!error) error = std::move(found);
}

void take_shape(OpenAiCommon& out, GrammarKind kind, std::string text) {
  out.shape = Shape{kind, std::move(text)};
  ++out.shapes;
}

// response_format, and text.format of Responses, where the schema lies beside the type. False for an unknown type.
bool read_format(const Json& format, const char* field, OpenAiCommon& out) {
  const std::string type = json_text(format, "type");
  if (type == "json_object") {
    take_shape(out, GrammarKind::kJsonSchema, any_json_object().text);
  } else if (type == "json_schema") {
    const auto inner = format.find("json_schema");
    const Json& holder = inner != format.end() && inner->is_object() ? *inner : format;
    const auto schema = holder.find("schema");
    if (schema == holder.end() || (!schema->is_object() && !schema->is_boolean())) {
      out.not_a_shape = std::string(field) + ".schema";
    } else {
      take_shape(out, GrammarKind::kJsonSchema, schema->dump());
    }
  } else if (type == "structural_tag") {
    take_shape(out, GrammarKind::kStructuralTag, format.dump());
  } else {
    return type == "text";
  }
  return true;
}

// One of vLLM's structured_outputs, and of the older guided_*, which are named alike.
void read_structured(const std::string& name, const Json& value, const std::string& field, OpenAiCommon& out) {
  if (value.is_null()) return;
  if (name == "json" && (value.is_object() || value.is_string())) {
    take_shape(out, GrammarKind::kJsonSchema, value.is_string() ? value.get<std::string>() : value.dump());
  } else if (name == "json_object" && value.is_boolean()) {
    if (value.get<bool>()) take_shape(out, GrammarKind::kJsonSchema, any_json_object().text);
  } else if (name == "regex" && value.is_string()) {
    take_shape(out, GrammarKind::kRegex, value.get<std::string>());
  } else if (name == "grammar" && value.is_string()) {
    Shape shape = chat::shape_of_grammar(value.get<std::string>());
    take_shape(out, shape.kind, std::move(shape.text));
  } else if (name == "structural_tag" && (value.is_object() || value.is_string())) {
    take_shape(out, GrammarKind::kStructuralTag, value.is_string() ? value.get<std::string>() : value.dump());
  } else if (name == "choice" && value.is_array() && !value.empty() &&
             std::all_of(value.begin(), value.end(), [](const Json& choice) { return choice.is_string(); })) {
    take_shape(out, GrammarKind::kRegex, regex_of_choices(value.get<std::vector<std::string>>()));
  } else if (name == "whitespace_pattern" && value.is_string()) {
    out.white_space = Json{{"whitespace_pattern", value}}.dump();
  } else if (name == "disable_any_whitespace" && value.is_boolean()) {
    if (value.get<bool>()) out.white_space = R"({"whitespace_flexible":false})";
  } else if (name == "disable_additional_properties" && value == false) {
    return;
  } else if (name != "disable_fallback") {  // there is nothing to fall back to
    out.not_a_shape = field;
  }
}

// What was asked for beside the schema, as the schema's own option.
void add_white_space(OpenAiCommon& out) {
  if (out.white_space.empty() || !out.shape || out.shape->kind != GrammarKind::kJsonSchema) return;
  JsonText schema = read_json(out.shape->text);
  if (!schema.ok || !schema.value.is_object() || schema.value.contains("x-guidance")) return;
  schema.value["x-guidance"] = read_json(out.white_space).value;
  out.shape->text = schema.value.dump();
}

void read_logit_bias(Fields& fields, std::map<int32_t, float>& out) {
  const Json* bias = fields.object("logit_bias");
  if (bias == nullptr) return;
  for (const auto& [key, value] : bias->items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || !value.is_number()) {
      return fields.wrong("logit_bias", "float_type", "Input should map token ids to numbers", *bias);
    }
    out[id] = static_cast<float>(std::clamp(value.get<double>(), -100.0, 100.0));
  }
}

void read_sampling(Fields& fields, SamplingFields& out) {
  fields.number("temperature", out.temperature);
  fields.number("top_p", out.top_p);
  fields.integer("top_k", out.top_k);
  fields.number("min_p", out.min_p);
  fields.number("typical_p", out.typical_p);
  fields.number("repetition_penalty", out.repetition_penalty);
  fields.number("presence_penalty", out.presence_penalty);
  fields.number("frequency_penalty", out.frequency_penalty);
  fields.integer("seed", out.seed);
  fields.integer("max_tokens", out.max_tokens);
  fields.integer("min_tokens", out.min_tokens);
  fields.texts("stop", out.stops);
  out.has_stops = fields.find("stop") != nullptr;
  fields.integer("repeat_last_n", out.repeat_last_n);
  fields.ids("stop_token_ids", out.stop_token_ids);
  fields.flag("ignore_eos", out.ignore_eos);
  fields.flag("include_stop_str_in_output", out.include_stop);
  fields.flag("skip_special_tokens", out.skip_special_tokens);
  read_logit_bias(fields, out.logit_bias);
  out.limits_ids = fields.find("allowed_token_ids") != nullptr;
  fields.ids("allowed_token_ids", out.allowed_ids);
  fields.texts("bad_words", out.bad_words);
}

// What would change the answer, and is not done here.
constexpr std::pair<const char*, const char*> kNotDone[] = {
    {"use_beam_search", "beam search is not done here"},
    {"prompt_embeds", "a prompt is text or token ids here, never embeddings"},
    {"repetition_detection", "repetitions are not looked for; frequency_penalty and max_tokens limit them"},
    {"logprob_token_ids", "log-probabilities are those of the most probable tokens: logprobs says how many"},
    {"thinking_token_budget", "the model does not think"},
};

void read_common(Fields& fields, OpenAiCommon& out) {
  for (const auto& [name, why] : kNotDone) fields.refuse(name, why);
  fields.text("model", out.model);
  fields.flag("stream", out.stream);
  fields.flag("echo", out.echo);
  fields.flag("return_token_ids", out.return_token_ids);
  fields.flag("return_tokens_as_token_ids", out.tokens_as_ids);
  fields.integer("n", out.n);
  fields.integer("priority", out.priority);
  fields.integer("prompt_logprobs", out.prompt_logprobs);
  fields.integer("truncate_prompt_tokens", out.truncate_prompt);
  fields.text("cache_salt", out.cache_salt);
  if (const Json* options = fields.object("stream_options")) {
    Fields inner(*options, "'stream_options', ");
    inner.flag("include_usage", out.include_usage);
    inner.flag("continuous_usage_stats", out.continuous_usage);
    fields.merge(inner);
    if (!out.stream) fields.rule("stream_options", "Stream options can only be defined when `stream=True`.");
  }
  read_sampling(fields, out.sampling);
  if (const Json* processor = fields.object("mm_processor_kwargs")) {
    Fields inner(*processor, "'mm_processor_kwargs', ");
    inner.flag("do_pan_and_scan", out.pictures.pan_and_scan);
    fields.merge(inner);
  }
  if (const Json* format = fields.object("response_format")) {
    if (!read_format(*format, "response_format", out)) {
      const std::string type = json_text(*format, "type");
      Fields inner(*format, "'response_format', ");
      inner.wrong("type", "literal_error", "Input should be 'text', 'json_object' or 'json_schema'", Json(type));
      fields.merge(inner);
    }
  }
  if (const Json* all = fields.object("structured_outputs")) {
    for (const auto& [name, value] : all->items()) read_structured(name, value, "structured_outputs." + name, out);
  }
  for (const char* name : {"json", "json_object", "regex", "choice", "grammar", "whitespace_pattern"}) {
    const std::string field = std::string("guided_") + name;
    if (const Json* value = fields.find(field.c_str())) read_structured(name, *value, field, out);
  }
  add_white_space(out);
}

void check_common(const OpenAiCommon& request, int32_t max_logprobs, std::optional<OpenAiError>& error) {
  if (request.n < 1) fail(error, bad(fmt::format("n must be at least 1, got {}.", request.n)));
  if (request.n > kMostChoices) fail(error, bad(fmt::format("n must be at most {}, got {}.", kMostChoices, request.n)));
  if (request.sampling.stops.size() > static_cast<size_t>(kMostStops)) {
    fail(error, bad(fmt::format("stop must hold at most {} texts, got {}.", kMostStops, request.sampling.stops.size()),
                    "stop"));
  }
  if (request.sampling.limits_ids && request.sampling.allowed_ids.empty()) {
    fail(error, bad("allowed_token_ids is not None and empty!", "allowed_token_ids"));
  }
  if (request.sampling.bad_words.size() > kMostBadWords) {
    fail(error, bad(fmt::format("bad_words must hold at most {} texts, got {}.", kMostBadWords,
                                request.sampling.bad_words.size()),
                    "bad_words"));
  }
  for (const std::string& word : request.sampling.bad_words) {
    if (word.find_first_not_of(' ') == std::string::npos) fail(error, bad("bad_words cannot contain an empty string."));
  }
  for (const std::string& stop : request.sampling.stops) {
    if (stop.empty()) fail(error, bad("stop cannot contain an empty string."));
  }
  if (request.logprobs && *request.logprobs > max_logprobs) {
    fail(error, bad(fmt::format("Requested sample logprobs of {0}, which is greater than max allowed: {1} "
                                "(parameter=logprobs, value={0})",
                                *request.logprobs, max_logprobs),
                    "logprobs"));
  }
  if (request.prompt_logprobs && (*request.prompt_logprobs > max_logprobs || *request.prompt_logprobs < 0)) {
    fail(error, bad(fmt::format("Requested prompt logprobs of {0}, which is greater than max allowed: {1} "
                                "(parameter=prompt_logprobs, value={0})",
                                *request.prompt_logprobs, max_logprobs),
                    "prompt_logprobs"));
  }
  if (request.logprobs && *request.logprobs < 0) {
    fail(error, bad("`logprobs` must be a positive value.", "logprobs"));
  }
  if (request.prompt_logprobs && request.stream) {
    fail(error, bad("`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs"));
  }
  if (!request.not_a_shape.empty()) {
    fail(error,
         bad(fmt::format("{}: no such shape of an answer is known here", request.not_a_shape), request.not_a_shape));
  }
  if (request.shape && request.sampling.ignore_eos) {
    fail(error, bad("ignore_eos: an answer of a shape ends where the shape does", "ignore_eos"));
  }
  if (request.shapes > 1) fail(error, bad("an answer can have one shape only: two were asked for"));
}

void offer_tools(Fields& fields, OfferedTools& out) {
  if (const Json* tools = fields.list("tools", false)) {
    if (const Status status = read_tools(*tools, out); !status.ok())
      return fields.rule("tools", status.error().message);
  }
  if (const Status status = read_tool_choice(fields.find("tool_choice"), out); !status.ok()) {
    return fields.rule("tool_choice", status.error().message);
  }
  fields.flag("parallel_tool_calls", out.parallel);
}

void check_messages(Flavor flavor, const std::vector<ChatMessage>& messages, std::optional<OpenAiError>& error) {
  if (messages.empty()) {
    fail(error, flavor == Flavor::kOllama
                    ? bad("[] is too short - 'messages'")
                    : bad("Cannot apply chat template to an empty conversation. Provide at least one message."));
  }
  if (messages.size() > static_cast<size_t>(kMostMessages)) {
    fail(error, bad(fmt::format("at most {} messages, got {}", kMostMessages, messages.size()), "messages"));
  }
}

std::vector<Prompt> read_prompts(Fields& fields, const char* name) {
  std::vector<Prompt> prompts;
  const Json* value = fields.find(name);
  const auto ids_of = [&](const Json& list) {
    std::vector<int32_t> ids;
    for (const Json& id : list) {
      if (!id.is_number_integer()) {
        fields.wrong(name, "int_type", "Input should be a valid integer", id);
        break;
      }
      ids.push_back(static_cast<int32_t>(std::clamp<int64_t>(id.get<int64_t>(), -1, INT32_MAX)));
    }
    return ids;
  };
  if (value == nullptr) return prompts;
  if (value->is_string()) {
    if (!value->get_ref<const std::string&>().empty()) prompts.emplace_back(value->get<std::string>());
  } else if (!value->is_array()) {
    fields.wrong(name, "string_type", "Input should be a valid string", *value);
  } else if (!value->empty() && value->front().is_number()) {
    prompts.emplace_back(ids_of(*value));
  } else {
    for (const Json& one : *value) {
      if (one.is_string())
        prompts.emplace_back(one.get<std::string>());
      else if (one.is_array())
        prompts.emplace_back(ids_of(one));
      else
        fields.wrong(name, "string_type", "Input should be a valid string", one);
    }
  }
  return prompts;
}

}  // namespace

Parsed<ChatRequest> parse_chat(Flavor flavor, const std::string& body, int32_t max_logprobs) {
  Parsed<ChatRequest> out;
  OpenAiBody read = read_openai_body(flavor, body);
  if (read.error) return {{}, std::move(read.error), true};
  Fields fields(read.json);
  ChatRequest& request = out.request;
  read_common(fields, request);
  fields.integer("max_completion_tokens", request.sampling.max_tokens);
  bool logprobs = false;
  int32_t top_logprobs = 0;
  fields.flag("logprobs", logprobs);
  fields.integer("top_logprobs", top_logprobs);
  if (logprobs) {
    request.logprobs = top_logprobs;
  } else if (top_logprobs > 0) {
    fields.rule("top_logprobs", "when using `top_logprobs`, `logprobs` must be set to true.");
  }
  fields.flag("add_generation_prompt", request.add_generation_prompt);
  fields.flag("continue_final_message", request.continue_final);
  if (request.continue_final && request.add_generation_prompt && fields.find("add_generation_prompt") != nullptr) {
    fields.rule("", "Cannot set both `continue_final_message` and `add_generation_prompt` to True.");
  }
  read_messages(fields, fields.list("messages", true), request.messages, request.pictures.sources);
  offer_tools(fields, request.tools);
  for (const char* name : {"chat_template", "chat_template_kwargs"}) {
    fields.refuse(name, "templates of requests are not run");
  }
  if (request.echo && !request.prompt_logprobs && !request.stream)
    request.prompt_logprobs = request.logprobs.value_or(0);
  out.malformed = !fields.ok();
  if (out.malformed) out.error = fields.error();
  check_messages(flavor, request.messages, out.error);
  check_common(request, max_logprobs, out.error);
  return out;
}

Parsed<CompletionRequest> parse_completion(Flavor flavor, const std::string& body, int32_t max_logprobs) {
  Parsed<CompletionRequest> out;
  OpenAiBody read = read_openai_body(flavor, body);
  if (read.error) return {{}, std::move(read.error), true};
  Fields fields(read.json);
  CompletionRequest& request = out.request;
  read_common(fields, request);
  fields.integer("logprobs", request.logprobs);
  fields.flag("add_special_tokens", request.add_special_tokens);
  if (!request.sampling.max_tokens) request.sampling.max_tokens = 16;
  request.prompts = read_prompts(fields, "prompt");
  if (request.prompts.empty() && fields.ok()) {
    fields.rule("prompt", "Either prompt or prompt_embeds must be provided and non-empty.");
  }
  std::optional<std::string> suffix;
  fields.text("suffix", suffix);
  out.malformed = !fields.ok();
  if (out.malformed) out.error = fields.error();
  if (suffix && !suffix->empty()) fail(out.error, bad("suffix is not currently supported"));
  if (request.prompts.size() > 128) fail(out.error, bad("more than 128 prompts", "prompt"));
  if (request.echo && request.logprobs && !request.prompt_logprobs) request.prompt_logprobs = request.logprobs;
  const bool echo_stream = request.stream && request.echo;
  if (echo_stream) request.prompt_logprobs.reset();
  check_common(request, max_logprobs, out.error);
  return out;
}

Parsed<ResponsesRequest> parse_responses(Flavor flavor, const std::string& body, int32_t max_logprobs) {
  Parsed<ResponsesRequest> out;
  OpenAiBody read = read_openai_body(flavor, body);
  if (read.error) return {{}, std::move(read.error), true};
  Fields fields(read.json);
  ResponsesRequest& request = out.request;
  read_common(fields, request);
  fields.integer("max_output_tokens", request.sampling.max_tokens);
  fields.text("instructions", request.instructions);
  if (!request.instructions.empty()) request.messages.push_back(ChatMessage::of_text("system", request.instructions));
  const Json* input = fields.find("input");
  if (input == nullptr) {
    fields.missing("input");
  } else if (input->is_string()) {
    request.messages.push_back(ChatMessage::of_text("user", input->get<std::string>()));
  } else {
    read_messages(fields, fields.list("input", true), request.messages, request.pictures.sources);
  }
  if (const Json* text = fields.object("text"); text != nullptr && text->contains("format")) {
    const Json& format = (*text)["format"];
    if (format.is_object() && !read_format(format, "text.format", request)) request.not_a_shape = "text.format";
  }
  offer_tools(fields, request.tools);
  out.malformed = !fields.ok();
  if (out.malformed) out.error = fields.error();
  if (fields.find("previous_response_id") != nullptr) {
    fail(out.error,
         {404, "responses are not stored: previous_response_id cannot be found", "previous_response_id", ""});
  }
  check_messages(flavor, request.messages, out.error);
  check_common(request, max_logprobs, out.error);
  return out;
}

Parsed<MessagesRequest> parse_messages(Flavor flavor, const std::string& body, bool counting) {
  Parsed<MessagesRequest> out;
  OpenAiBody read = read_openai_body(flavor, body);
  if (read.error) return {{}, std::move(read.error), true};
  Fields fields(read.json);
  MessagesRequest& request = out.request;
  fields.text("model", request.model);
  fields.flag("stream", request.stream);
  fields.number("temperature", request.sampling.temperature);
  fields.number("top_p", request.sampling.top_p);
  fields.integer("top_k", request.sampling.top_k);
  fields.integer("max_tokens", request.sampling.max_tokens);
  fields.texts("stop_sequences", request.sampling.stops);
  if (!counting && fields.find("max_tokens") == nullptr) fields.missing("max_tokens");
  ChatMessage system{"system", {}};
  if (const Json* text = fields.find("system")) read_content(*text, system, request.pictures.sources, fields);
  if (!system.parts.empty()) {
    std::string whole;
    for (const ChatPart& part : system.parts) whole += part.text;
    request.messages.push_back(ChatMessage::of_text("system", whole));
  }
  read_messages(fields, fields.list("messages", true), request.messages, request.pictures.sources);
  offer_tools(fields, request.tools);
  out.malformed = !fields.ok();
  if (out.malformed) out.error = fields.error();
  check_messages(flavor, request.messages, out.error);
  check_common(request, 20, out.error);
  return out;
}

Parsed<TokenizeRequest> parse_tokenize(Flavor flavor, const std::string& body, bool detokenize) {
  Parsed<TokenizeRequest> out;
  OpenAiBody read = read_openai_body(flavor, body);
  if (read.error) return {{}, std::move(read.error), true};
  Fields fields(read.json);
  TokenizeRequest& request = out.request;
  fields.text("model", request.model);
  if (detokenize) {
    if (fields.list("tokens", true) != nullptr) fields.ids("tokens", request.tokens);
  } else {
    request.is_chat = fields.find("messages") != nullptr;
    std::vector<PictureSource> images;
    if (request.is_chat)
      read_messages(fields, fields.list("messages", true), request.messages, images);
    else if (fields.find("prompt") == nullptr)
      fields.missing("prompt");
    fields.text("prompt", request.prompt);
    fields.flag("add_special_tokens", request.add_special_tokens);
    fields.flag("return_token_strs", request.token_texts);
    fields.flag("add_generation_prompt", request.add_generation_prompt);
    fields.flag("continue_final_message", request.continue_final);
  }
  out.malformed = !fields.ok();
  if (out.malformed) out.error = fields.error();
  if (request.is_chat) check_messages(flavor, request.messages, out.error);
  return out;
}

Parsed<EmbeddingsRequest> parse_embeddings(Flavor flavor, const std::string& body) {
  Parsed<EmbeddingsRequest> out;
  OpenAiBody read = read_openai_body(flavor, body);
  if (read.error) return {{}, std::move(read.error), true};
  Fields fields(read.json);
  fields.text("model", out.request.model);
  fields.integer("dimensions", out.request.dimensions);
  std::string encoding = "float";
  fields.text("encoding_format", encoding);
  out.request.base64 = encoding == "base64";
  out.request.input = read_prompts(fields, "input");
  if (out.request.input.empty() && fields.ok()) fields.missing("input");
  out.malformed = !fields.ok();
  if (out.malformed) out.error = fields.error();
  return out;
}

std::optional<OpenAiError> apply_sampling(chat::GenerationOptions& options, const SamplingFields& fields,
                                          int32_t vocabulary) {
  std::optional<OpenAiError> error;
  SamplingParams& sampling = options.sampling;
  const auto out_of_range = [&](const char* name, const char* range, float value, bool named) {
    const std::string number = python_float(value);
    const std::string suffix = named ? fmt::format(" (parameter={}, value={})", name, number) : "";
    fail(error, bad(fmt::format("{} must be {}, got {}.{}", name, range, number, suffix), named ? name : ""));
  };
  if (fields.temperature) {
    sampling.temperature = *fields.temperature;
    if (sampling.temperature < 0) {
      const std::string number = python_float(sampling.temperature);
      fail(error,
           bad(fmt::format("temperature must be non-negative, got {0}. (parameter=temperature, value={0})", number),
               "temperature"));
    }
  }
  if (fields.top_p) {
    sampling.top_p = *fields.top_p;
    if (!(sampling.top_p > 0 && sampling.top_p <= 1)) out_of_range("top_p", "in (0, 1]", sampling.top_p, true);
  }
  if (fields.top_k) {
    if (*fields.top_k < -1 || *fields.top_k > INT32_MAX) {
      fail(error, bad(fmt::format("top_k must be 0 (disable), or at least 1, got {}.", *fields.top_k)));
    } else {
      sampling.top_k = static_cast<int32_t>(std::max<int64_t>(*fields.top_k, 0));
    }
  }
  if (fields.min_p) {
    sampling.min_p = *fields.min_p;
    if (!(sampling.min_p >= 0 && sampling.min_p <= 1)) out_of_range("min_p", "in [0, 1]", sampling.min_p, false);
  }
  if (fields.typical_p) sampling.typical_p = *fields.typical_p;
  if (fields.repetition_penalty) {
    sampling.repetition_penalty = *fields.repetition_penalty;
    if (!(sampling.repetition_penalty > 0)) {
      out_of_range("repetition_penalty", "greater than zero", sampling.repetition_penalty, false);
    }
  }
  const auto penalty = [&](const char* name, const std::optional<float>& value, float& to) {
    if (!value) return;
    to = *value;
    if (!(to >= -2 && to <= 2)) out_of_range(name, "in [-2, 2]", to, false);
  };
  penalty("presence_penalty", fields.presence_penalty, sampling.presence_penalty);
  penalty("frequency_penalty", fields.frequency_penalty, sampling.frequency_penalty);
  sampling.count_answer_only = !fields.repeat_last_n;
  sampling.repeat_last_n =
      fields.repeat_last_n ? static_cast<int32_t>(std::clamp<int64_t>(*fields.repeat_last_n, -1, 1 << 20)) : -1;
  if (fields.seed) sampling.seed = static_cast<uint64_t>(*fields.seed);
  if (fields.has_stops || !fields.stops.empty()) options.stops = fields.stops;
  for (const int32_t id : fields.stop_token_ids) {
    if (id >= 0 && id < vocabulary) sampling.stop_ids.push_back(id);  // others can never come
  }
  sampling.ignore_eos = fields.ignore_eos;
  std::vector<int32_t> strangers;
  for (const auto& [id, bias] : fields.logit_bias) {
    if (id < 0 || id >= vocabulary)
      strangers.push_back(id);
    else
      sampling.logit_bias[id] = bias;
  }
  for (const int32_t id : fields.allowed_ids) {
    if (id < 0 || id >= vocabulary) {
      fail(error, bad("allowed_token_ids contains out-of-vocab token id!", "allowed_token_ids"));
    }
  }
  if (!strangers.empty()) {
    fail(error, bad(fmt::format("token_id(s) [{0}] in logit_bias contain out-of-vocab token ids. Vocabulary size: {1} "
                                "(parameter=logit_bias, value=[{0}])",
                                fmt::join(strangers, ", "), vocabulary),
                    "logit_bias"));
  }
  if (fields.min_tokens) {
    if (*fields.min_tokens < 0 || *fields.min_tokens > INT32_MAX) {
      fail(error, bad(fmt::format("min_tokens must be greater than or equal to 0, got {}.", *fields.min_tokens)));
    } else if (fields.max_tokens && *fields.min_tokens > *fields.max_tokens) {
      fail(error, bad(fmt::format("min_tokens must be less than or equal to max_tokens={}, got {}.", *fields.max_tokens,
                                  *fields.min_tokens)));
    } else {
      sampling.min_tokens = static_cast<int32_t>(*fields.min_tokens);
    }
  }
  if (!error) {
    if (const Status status = validate(sampling, vocabulary); !status.ok()) error = bad(status.error().message);
  }
  return error;
}

}  // namespace carat::server
