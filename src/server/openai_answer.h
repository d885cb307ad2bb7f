// What chat and completions have in common: several choices of one request, each a generation, told in OpenAI's shapes
// as they come or all at once.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/app.h"
#include "server/errors.h"
#include "server/generation.h"
#include "server/json_text.h"
#include "server/openai_requests.h"
#include "server/prompt_scores.h"

namespace carat::server {

// "chatcmpl-" and 16 hexadecimal digits that nobody can guess.
std::string random_id(std::string_view prefix);
int64_t unix_now();

struct OpenAiContext {
  ExchangePtr exchange;
  Lease model;
  OpenAiCommon request;
  Flavor flavor = Flavor::kVllm;
  bool is_chat = false;
  std::string id;
  int64_t created = 0;
  std::string fingerprint;
  std::vector<ImageSpan> images;  // of its prompt
};

// One choice of the answer, from its prompt to its end.
struct Choice {
  std::vector<int32_t> prompt;
  std::string echo;  // text of the prompt that comes before the answer
  std::string text;
  std::shared_ptr<chat::ToolScanner> scanner;  // where functions may be called
  std::vector<CalledFunction> calls;           // so far
  std::string call_deltas;                     // of a stream: the JSON of those that the next chunk tells
  std::vector<TokenInfo> tokens;
  std::shared_ptr<PromptScores> scores;
  GenerationEnd end;
  bool ended = false;
  int64_t told_characters = 0;  // for text_offset of a stream
};

// Starts the generations of every prompt, n of each, and answers the exchange. Any thread.
void answer_openai(App& app, OpenAiContext context, std::vector<std::vector<int32_t>> prompts,
                   const chat::GenerationOptions& options);

// The most tokens that an answer may have, or why the prompt leaves no room. `asked`: what the client wanted.
struct Room {
  int32_t max_tokens = 0;
  std::optional<OpenAiError> error;
};
Room room_for(const ServedModel& model, size_t prompt_tokens, const std::optional<int64_t>& asked, bool may_be_none);

// The JSON of prompt_logprobs: a list, null for the first token.
void write_prompt_logprobs(JsonWriter& json, const Tokenizer& tokenizer, const PromptScores& scores);
// {"content":[{"token","logprob","bytes","top_logprobs"}]}
void write_chat_logprobs(JsonWriter& json, const Tokenizer& tokenizer, std::span<const TokenInfo> tokens, bool as_ids);

// The model of a request, or an error in the flavour's words; `ready` runs on a worker.
void acquire_openai(App& app, const ExchangePtr& exchange, const std::string& model, std::function<void(Lease)> ready);
std::optional<OpenAiError> missing_model(App& app, const std::string& model);

}  // namespace carat::server
