// What goes into the engine and what comes out of it: token ids and numbers, never text.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/token_rules.h"
#include "sampling/sampler.h"
#include "sampling/sampling_params.h"

namespace carat {

class Constraint;

using RequestId = uint64_t;

// Positions [begin, end) of a prompt hold a picture: its rows see each other, and are computed in one step.
struct ImageSpan {
  int32_t begin = 0;
  int32_t end = 0;
  uint64_t hash = 0;                                     // of the picture's content: what the prefix cache knows it by
  std::shared_ptr<const std::vector<float>> embeddings;  // [end - begin][D]
};

using RowObserver = std::function<void(int32_t position, std::span<const float> values)>;

struct Request {
  std::vector<int32_t> prompt;    // all of it, BOS included; the prefix cache finds what is known already
  std::vector<ImageSpan> images;  // in order, not overlapping; the prompt's ids there are any valid ids
  SamplingParams sampling;
  // At its beginning, and this request's own: the engine moves it on with every token. None: everything may come.
  std::shared_ptr<Constraint> constraint;
  TokenRules rules;
  int32_t priority = 0;     // higher goes first among those that wait
  uint64_t cache_salt = 0;  // requests of different salts share nothing of the prefix cache
  // Observes raw logits [V] of every position from `observe_from` on (of the last prompt position and of each answer
  // token by default): the prediction of what follows `position`. The span is valid during the call only.
  RowObserver on_logits;
  int32_t observe_from = -1;  // -1: the last prompt position
  // Observes the hidden states [D], after the final norm, of the prompt's positions from `hidden_from` on.
  RowObserver on_hidden;
  int32_t hidden_from = 0;
};

enum class FinishReason : uint8_t {
  kNone,       // goes on
  kStop,       // an end token of the model, or one of stop_ids; it is the event's token
  kLength,     // max_tokens, or the context is full
  kCancelled,  // cancel() was called
  kError,      // the event says which
};

struct Usage {
  int32_t prompt_tokens = 0;     // all of the prompt
  int32_t reused_tokens = 0;     // of them, found in the prefix cache
  int32_t generated_tokens = 0;  // sampled so far, a stop token included
  double prompt_seconds = 0;     // from admission to the first token's logits
  double generate_seconds = 0;   // from there to the last token
};

struct Event {
  RequestId request = 0;
  int32_t token = -1;             // -1: none came with this event
  float logprob = 0;              // when asked for
  std::vector<TokenLogprob> top;  // when asked for
  FinishReason finish = FinishReason::kNone;
  std::optional<Error> error;  // with kError
  Usage usage;
};

}  // namespace carat
