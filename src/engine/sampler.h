// From a row of logits to a token. It keeps no state between tokens but scratch memory: what it returns is a function
// of the logits, the parameters, the seed, the history and the number of the token, so replays and re-batching change
// nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/sampling_params.h"
#include "engine/top_k.h"

namespace carat {

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;  // natural logarithm
};

struct Sampled {
  int32_t token = 0;
  float logprob = 0;              // of the token, when params.logprobs
  std::vector<TokenLogprob> top;  // params.top_logprobs of them, most probable first
};

struct SampleContext {
  std::span<const int32_t> history;  // prompt and answer so far
  int32_t generated = 0;             // tokens of the answer so far: the number of this draw
  uint64_t seed = 0;
  std::span<const int32_t> end_ids;  // must not be chosen while generated < params.min_tokens
};

// The `count` most probable tokens with their log-probabilities. logits: [V], none NaN or +inf, one finite.
std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, int32_t count);

class Sampler {
 public:
  // logits: [V], as the backend computed them; params: validated against this V.
  // Errors: kCorruptFile when the logits hold no finite maximum, as broken weights produce.
  Result<Sampled> sample(std::span<const float> logits, const SamplingParams& params, const SampleContext& context);

 private:
  std::span<const float> adjusted(std::span<const float> logits, const SamplingParams& params,
                                  const SampleContext& context);
  void collect(std::span<const float> logits, const SamplingParams& params);
  void collect_nucleus(std::span<const float> logits, float top_p);
  void keep_typical(float typical_p);
  void keep_top_p(float top_p);
  void keep_min_p(float min_p);
  int32_t draw(float temperature, double uniform);

  std::vector<float> logits_;          // [V] a changed copy, only where bias or penalties ask for one
  std::vector<int32_t> window_;        // history within repeat_last_n, sorted
  std::vector<Candidate> candidates_;  // what the filters have left
  std::vector<double> weights_;        // [candidates]
};

}  // namespace carat
