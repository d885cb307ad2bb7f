// OpenAI's API as vLLM serves it: models, chat, completions, embeddings, tokenize and detokenize.
#include <fmt/format.h>

#include "server/embedding.h"
#include "server/model_info.h"
#include "server/openai_answer.h"
#include "server/pictures.h"
#include "server/prompts.h"

namespace carat::server {
namespace {

void refuse(App& app, const ExchangePtr& exchange, const OpenAiError& error) {
  exchange->respond(openai_error(app.flavor(), error));
}

// Keeps the last `most` tokens, if that is asked for.
void truncate(std::vector<int32_t>& prompt, const std::optional<int64_t>& most) {
  if (!most || *most < 0 || static_cast<size_t>(*most) >= prompt.size()) return;
  prompt.erase(prompt.begin(), prompt.end() - static_cast<ptrdiff_t>(std::max<int64_t>(*most, 1)));
}

void chat_with(App& app, const ExchangePtr& exchange, ChatRequest& request, const Lease& model,
               const SeenPictures& seen) {
  chat::GenerationOptions options = model->defaults;
  if (const auto error = apply_sampling(options, request.sampling, model->config().vocabulary)) {
    return refuse(app, exchange, *error);
  }
  auto messages = with_tools(*model, std::move(request.messages), request.tools, request.shape);
  if (!messages) return refuse(app, exchange, {400, messages.error().message, "tools", ""});
  ChatPrompt prompt{std::move(*messages), request.add_generation_prompt, request.continue_final,
                    request.tools.answer_begins()};
  describe_pictures(prompt.messages, seen);
  auto ids = encode_chat_prompt(*model, model->format, prompt);
  if (!ids) return refuse(app, exchange, {400, ids.error().message, "", ""});
  expand_pictures(*model, seen, *ids);
  truncate(*ids, request.truncate_prompt);
  auto images = place_pictures(*model, seen.size(), seen, *ids);
  if (!images) return refuse(app, exchange, {400, images.error().message, "", ""});
  const Room room = room_for(*model, ids->size(), request.sampling.max_tokens, false);
  if (room.error) return refuse(app, exchange, *room.error);
  options.sampling.max_tokens = room.max_tokens;
  OpenAiContext context{exchange, model, request, app.flavor(), true, "", 0, "", std::move(*images)};
  std::vector<std::vector<int32_t>> prompts;
  prompts.push_back(std::move(*ids));
  answer_openai(app, std::move(context), std::move(prompts), options);
}

void chat(App& app, const ExchangePtr& exchange) {
  auto parsed = parse_chat(app.flavor(), exchange->request().body, app.options().max_logprobs);
  if (parsed.malformed) return refuse(app, exchange, *parsed.error);
  if (const auto error = missing_model(app, parsed.request.model)) return refuse(app, exchange, *error);
  if (parsed.error) return refuse(app, exchange, *parsed.error);
  auto request = std::make_shared<ChatRequest>(std::move(parsed.request));
  acquire_openai(app, exchange, request->model, [&app, exchange, request](const Lease& model) {
    look(app, exchange, model, std::move(request->pictures),
         [&app, exchange, request, model](const Result<SeenPictures>& seen) {
           if (!seen) return refuse(app, exchange, {http_status(seen.error().code), seen.error().message, "", ""});
           chat_with(app, exchange, *request, model, *seen);
         });
  });
}

void completions(App& app, const ExchangePtr& exchange) {
  auto parsed = parse_completion(app.flavor(), exchange->request().body, app.options().max_logprobs);
  if (parsed.malformed) return refuse(app, exchange, *parsed.error);
  if (const auto error = missing_model(app, parsed.request.model)) return refuse(app, exchange, *error);
  if (parsed.error) return refuse(app, exchange, *parsed.error);
  auto request = std::make_shared<CompletionRequest>(std::move(parsed.request));
  acquire_openai(app, exchange, request->model, [&app, exchange, request](const Lease& model) {
    chat::GenerationOptions options = model->defaults;
    const int32_t vocabulary = model->config().vocabulary;
    if (const auto error = apply_sampling(options, request->sampling, vocabulary)) return refuse(app, exchange, *error);
    if (request->sampling.stops.empty()) options.stops.clear();  // a completion ends where its caller says
    std::vector<std::vector<int32_t>> prompts;
    for (Prompt& prompt : request->prompts) {
      std::vector<int32_t> ids;
      if (const auto* text = std::get_if<std::string>(&prompt)) {
        ids = encode_text_prompt(*model, *text, request->add_special_tokens);
      } else {
        ids = std::move(std::get<std::vector<int32_t>>(prompt));
      }
      for (const int32_t id : ids) {
        if (id < 0 || id >= vocabulary) {
          return refuse(app, exchange, {400, fmt::format("Token id {} is out of vocabulary", id), "", ""});
        }
      }
      if (ids.empty()) return refuse(app, exchange, {400, "The prompt is empty", "prompt", ""});
      truncate(ids, request->truncate_prompt);
      const Room room = room_for(*model, ids.size(), request->sampling.max_tokens, request->echo);
      if (room.error) return refuse(app, exchange, *room.error);
      options.sampling.max_tokens = room.max_tokens;
      prompts.push_back(std::move(ids));
    }
    OpenAiContext context{exchange, model, *request, app.flavor(), false, "", 0, "", {}};
    answer_openai(app, std::move(context), std::move(prompts), options);
  });
}

void write_model(JsonWriter& json, App& app, const std::string& name, int64_t created,
                 const std::vector<std::string>& capabilities) {
  json.begin_object().field("id", name).field("object", "model").field("created", created);
  json.key("capabilities").begin_array();
  for (const std::string& capability : capabilities) json.value(capability);
  json.end_array();
  if (app.flavor() == Flavor::kOllama) {
    json.field("owned_by", "library").end_object();
    return;
  }
  json.field("owned_by", "carat").field("root", app.models().pinned_names()[0]).null_field("parent");
  int32_t context = 0;
  for (const LoadedModelInfo& model : app.models().loaded()) context = model.context;
  json.field("max_model_len", context).key("permission").begin_array().begin_object();
  json.field("id", random_id("modelperm-")).field("object", "model_permission").field("created", created);
  json.field("allow_create_engine", false).field("allow_sampling", true).field("allow_logprobs", true);
  json.field("allow_search_indices", false).field("allow_view", true).field("allow_fine_tuning", false);
  json.field("organization", "*").null_field("group").field("is_blocking", false);
  json.end_object().end_array().end_object();
}

int64_t unix_seconds(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

void models(App& app, const ExchangePtr& exchange) {
  const auto all = known_models(app);
  if (!all) return refuse(app, exchange, {500, all.error().message, "", ""});
  JsonWriter json;
  json.begin_object().field("object", "list").key("data").begin_array();
  for (const chat::ModelFacts& facts : *all) {
    write_model(json, app, facts.name, app.models().has_pinned() ? unix_now() : unix_seconds(facts.modified),
                facts.capabilities);
  }
  json.end_array().end_object();
  exchange->respond({200, "application/json", json.take(), {}});
}

void model(App& app, const ExchangePtr& exchange) {
  const std::string name = path_tail(exchange->request(), "/v1/models/");
  if (auto error = missing_model(app, name)) return refuse(app, exchange, *error);
  int64_t created = unix_now();
  std::vector<std::string> capabilities;
  if (const auto opened = app.models().open(name)) {
    const chat::ModelFacts facts = chat::facts_of(*opened);
    capabilities = facts.capabilities;
    if (!app.models().has_pinned()) created = unix_seconds(facts.modified);
  }
  JsonWriter json;
  write_model(json, app, name, created, capabilities);
  exchange->respond({200, "application/json", json.take(), {}});
}

void embeddings(App& app, const ExchangePtr& exchange) {
  const auto parsed = parse_embeddings(app.flavor(), exchange->request().body);
  if (parsed.error) return refuse(app, exchange, *parsed.error);
  if (auto error = missing_model(app, parsed.request.model)) return refuse(app, exchange, *error);
  if (parsed.request.input.size() > 2048) return refuse(app, exchange, {400, "more than 2048 inputs", "input", ""});
  acquire_openai(app, exchange, parsed.request.model, [&app, exchange, request = parsed.request](const Lease& model) {
    std::vector<std::vector<int32_t>> prompts;
    for (const Prompt& input : request.input) {
      std::vector<int32_t> ids;
      if (const auto* text = std::get_if<std::string>(&input)) {
        ids = model->tokenizer->encode(*text);
        if (model->config().adds_bos) ids.insert(ids.begin(), model->config().bos_id);
      } else {
        ids = std::get<std::vector<int32_t>>(input);
      }
      if (ids.empty()) return refuse(app, exchange, {400, "an input is empty", "input", ""});
      prompts.push_back(std::move(ids));
    }
    embed(model, exchange, std::move(prompts), request.dimensions,
          [&app, exchange, request](const Result<Embeddings>& made) {
            if (!made) return refuse(app, exchange, {http_status(made.error().code), made.error().message, "", ""});
            JsonWriter json;
            json.begin_object().field("id", random_id("embd-")).field("object", "list").field("created", unix_now());
            json.field("model", request.model).key("data").begin_array();
            for (size_t i = 0; i < made->vectors.size(); ++i) {
              json.begin_object().field("index", static_cast<int64_t>(i)).field("object", "embedding").key("embedding");
              if (request.base64) {
                json.value(base64_floats(made->vectors[i]));
              } else {
                json.begin_array();
                for (const float value : made->vectors[i]) json.value(value);
                json.end_array();
              }
              json.end_object();
            }
            json.end_array().key("usage").begin_object().field("prompt_tokens", made->prompt_tokens);
            json.field("total_tokens", made->prompt_tokens)
                .field("completion_tokens", 0)
                .null_field("prompt_tokens_details");
            json.end_object().end_object();
            exchange->respond({200, "application/json", json.take(), {}});
          });
  });
}

void tokenize(App& app, const ExchangePtr& exchange) {
  auto parsed = parse_tokenize(app.flavor(), exchange->request().body, false);
  if (parsed.error) return refuse(app, exchange, *parsed.error);
  auto request = std::make_shared<TokenizeRequest>(std::move(parsed.request));
  acquire_openai(app, exchange, request->model, [&app, exchange, request](const Lease& model) {
    std::vector<int32_t> ids;
    if (request->is_chat) {
      auto encoded =
          encode_chat_prompt(*model, model->format,
                             {std::move(request->messages), request->add_generation_prompt, request->continue_final});
      if (!encoded) return refuse(app, exchange, {400, encoded.error().message, "", ""});
      ids = std::move(*encoded);
    } else {
      ids = encode_text_prompt(*model, request->prompt, request->add_special_tokens);
    }
    JsonWriter json;
    json.begin_object().field("count", static_cast<int64_t>(ids.size())).field("max_model_len", model->context);
    json.key("tokens").value(std::span<const int32_t>(ids)).key("token_strs");
    if (request->token_texts) {
      json.begin_array();
      for (const int32_t id : ids) {
        std::string piece;
        for (const char c : model->tokenizer->piece_text(id, true)) {
          if (c == ' ')
            piece += "\xE2\x96\x81";
          else
            piece += c;
        }
        json.value(piece);
      }
      json.end_array();
    } else {
      json.null();
    }
    json.end_object();
    exchange->respond({200, "application/json", json.take(), {}});
  });
}

void detokenize(App& app, const ExchangePtr& exchange) {
  auto parsed = parse_tokenize(app.flavor(), exchange->request().body, true);
  if (parsed.error) return refuse(app, exchange, *parsed.error);
  auto request = std::make_shared<TokenizeRequest>(std::move(parsed.request));
  acquire_openai(app, exchange, request->model, [exchange, request](const Lease& model) {
    JsonWriter json;
    json.begin_object().field("prompt", model->tokenizer->decode(request->tokens, true)).end_object();
    exchange->respond({200, "application/json", json.take(), {}});
  });
}

}  // namespace

void add_openai_routes(Router& router) {
  router.add({"GET", "/v1/models", models, false, false, false, false, "The models (OpenAI)"});
  router.add({"GET", "/v1/models/*", model, false, false, false, false, "One model (OpenAI)"});
  router.add({"POST", "/v1/chat/completions", chat, false, false, false, true, "Goes on with a conversation (OpenAI)"});
  router.add({"POST", "/v1/completions", completions, false, false, false, false, "Completes prompts (OpenAI)"});
  router.add({"POST", "/v1/embeddings", embeddings, false, false, false, false, "Embeddings of texts (OpenAI)"});
  router.add({"POST", "/tokenize", tokenize, false, false, false, false, "Text to token ids (vLLM)"});
  router.add({"POST", "/detokenize", detokenize, false, false, false, false, "Token ids to text (vLLM)"});
}

}  // namespace carat::server
