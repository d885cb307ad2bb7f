// What a request may ask of the sampler, and the ranges that are checked before anything else sees it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/result.h"

namespace carat {

inline constexpr int32_t kMaxTopLogprobs = 20;

// The defaults are what Gemma's makers recommend. Applied in llama.cpp's (and so Ollama's) order: logit bias,
// penalties, top_k, typical_p, top_p, min_p, temperature; each filter works on the distribution that the one before
// left.
struct SamplingParams {
  float temperature = 1.0f;  // 0: the most probable token, the lowest id on ties
  int32_t top_k = 64;        // the k most probable; 0 or -1: all
  float top_p = 0.95f;       // the fewest tokens that hold this much probability
  float min_p = 0;           // drops tokens less probable than this times the most probable one
  float typical_p = 1;       // locally typical sampling (Meister et al., 2022); 1: off

  // Penalties count the tokens of prompt and answer within the last repeat_last_n; -1: all of them, 0: none.
  float repetition_penalty = 1;  // divides positive logits of seen tokens, multiplies negative ones
  float presence_penalty = 0;    // subtracted once from the logit of a seen token
  float frequency_penalty = 0;   // subtracted as often as the token was seen
  int32_t repeat_last_n = 64;
  bool count_answer_only = false;       // presence and frequency leave the prompt's tokens out, as vLLM does
  std::map<int32_t, float> logit_bias;  // added to the logits of these ids

  std::optional<uint64_t> seed;   // the same seed gives the same tokens, on every machine; none: a random one
  std::vector<int32_t> stop_ids;  // end the answer, beside the model's own
  bool ignore_eos = false;        // the model's own end tokens do not end the answer (stop_ids still do)
  int32_t max_tokens = -1;        // -1: until the context is full; 0: only the prompt is computed
  int32_t min_tokens = 0;         // no stop token can be chosen before these

  bool logprobs = false;     // of the raw distribution: before bias, penalties, filters and temperature
  int32_t top_logprobs = 0;  // so many alternatives with each token, at most kMaxTopLogprobs

  bool has_penalty() const { return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0; }
};

// Errors: kInvalidArgument naming the option, its value and its range. V: ids lie in [0, vocabulary).
Status validate(const SamplingParams& params, int32_t vocabulary);

}  // namespace carat
