// What clients of OpenAI's API (as vLLM serves it) and of Anthropic's ask for, read from JSON and checked in one place.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "chat/generation_options.h"
#include "server/errors.h"
#include "server/picture_source.h"
#include "server/shape.h"
#include "server/tools.h"
#include "tokenizer/chat_template.h"

namespace carat::server {

inline constexpr int32_t kMostChoices = 16, kMostStops = 16, kMostMessages = 4096;
inline constexpr size_t kMostBadWords = 256;

// What shapes the answer; what is absent stays as the model's makers recommend.
struct SamplingFields {
  std::optional<float> temperature, top_p, min_p, typical_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> top_k, seed, max_tokens, min_tokens;
  std::vector<std::string> stops;
  bool has_stops = false;                // an empty list takes the model's own away
  std::optional<int64_t> repeat_last_n;  // Carat's own: penalties count as on Ollama's API
  std::vector<int32_t> stop_token_ids;
  std::map<int32_t, float> logit_bias;
  bool limits_ids = false;  // only these may come
  std::vector<int32_t> allowed_ids;
  std::vector<std::string> bad_words;  // never part of the answer
  bool ignore_eos = false;
  bool include_stop = false;
  bool skip_special_tokens = true;
};

struct OpenAiCommon {
  std::string model;
  bool stream = false, include_usage = false, continuous_usage = false;
  SamplingFields sampling;
  int32_t n = 1;
  bool echo = false;
  bool return_token_ids = false, tokens_as_ids = false;
  std::optional<int64_t> logprobs;         // how many alternatives with each token
  std::optional<int64_t> prompt_logprobs;  // and with each of the prompt's
  std::optional<int64_t> truncate_prompt;
  Pictures pictures;  // of its messages
  int32_t priority = 0;
  std::string cache_salt;
  std::optional<Shape> shape;
  int32_t shapes = 0;       // that were asked for
  std::string white_space;  // of a schema: its "x-guidance", unless it has one
  std::string not_a_shape;  // "": none; else the field that asks for one that is not there
  OfferedTools tools;
};

struct ChatRequest : OpenAiCommon {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true, continue_final = false;
};

using Prompt = std::variant<std::string, std::vector<int32_t>>;
struct CompletionRequest : OpenAiCommon {
  std::vector<Prompt> prompts;
  bool add_special_tokens = true;
};

struct ResponsesRequest : OpenAiCommon {
  std::vector<ChatMessage> messages;
  std::string instructions;
};

struct MessagesRequest : OpenAiCommon {
  std::vector<ChatMessage> messages;
};

struct TokenizeRequest {
  std::string model, prompt;
  std::vector<ChatMessage> messages;
  std::vector<int32_t> tokens;  // of /detokenize
  bool is_chat = false, add_special_tokens = true, token_texts = false;
  bool add_generation_prompt = true, continue_final = false;
};

struct EmbeddingsRequest {
  std::string model;
  std::vector<Prompt> input;
  int32_t dimensions = 0;
  bool base64 = false;
};

// A request, or the error to answer with.
template <class T>
struct Parsed {
  T request;
  std::optional<OpenAiError> error;
  bool malformed = false;  // what is wrong comes before the question whether there is such a model
};

Parsed<ChatRequest> parse_chat(Flavor flavor, const std::string& body, int32_t max_logprobs);
Parsed<CompletionRequest> parse_completion(Flavor flavor, const std::string& body, int32_t max_logprobs);
Parsed<ResponsesRequest> parse_responses(Flavor flavor, const std::string& body, int32_t max_logprobs);
Parsed<MessagesRequest> parse_messages(Flavor flavor, const std::string& body, bool counting);
Parsed<TokenizeRequest> parse_tokenize(Flavor flavor, const std::string& body, bool detokenize);
Parsed<EmbeddingsRequest> parse_embeddings(Flavor flavor, const std::string& body);

// The fields over the model's defaults, checked against its vocabulary. Empty: all is well.
std::optional<OpenAiError> apply_sampling(chat::GenerationOptions& options, const SamplingFields& fields,
                                          int32_t vocabulary);

}  // namespace carat::server
