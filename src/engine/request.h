// What goes into the engine and what comes out of it: token ids and numbers, never text.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/sampler.h"
#include "engine/sampling_params.h"

namespace carat {

using RequestId = uint64_t;
using SessionId = uint64_t;
inline constexpr SessionId kNoSession = 0;

struct Request {
  std::vector<int32_t> prompt;  // all of it, BOS included, also what a session already holds
  SamplingParams sampling;
  // A session keeps its KV cache when the answer is done; the next request of the same session computes only what
  // differs from it at the end. The caller always gives the whole prompt.
  SessionId session = kNoSession;
  // Observes raw logits [V] of every position from `observe_from` on (of the last prompt position and of each answer
  // token by default): the prediction of what follows `position`. The span is valid during the call only.
  std::function<void(int32_t position, std::span<const float> logits)> on_logits;
  int32_t observe_from = -1;  // -1: the last prompt position
};

enum class FinishReason : uint8_t {
  kNone,       // goes on
  kStop,       // an end token of the model, or one of stop_ids; it is the event's token
  kLength,     // max_tokens, or the context is full
  kCancelled,  // cancel() was called
  kError,      // the model computed no finite logits
};

struct Usage {
  int32_t prompt_tokens = 0;     // all of the prompt
  int32_t reused_tokens = 0;     // of them, found in the session's KV cache
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
  Usage usage;
};

}  // namespace carat
