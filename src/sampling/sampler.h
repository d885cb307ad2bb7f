// From a row of logits to a token. It keeps no state between tokens but scratch memory: what it returns is a function
// of the logits, the parameters, the seed, the history and the number of the token, so replays and re-batching change
// nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "sampling/sampling_params.h"
#include "sampling/top_k.h"

namespace carat {

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;  // natural logarithm
};

// How one token is to be chosen. Spans and pointers belong to whoever asks, until the answer is there.
struct SampleSpec {
  const SamplingParams* params = nullptr;  // validated against this V
  std::span<const int32_t> history = {};   // prompt and answer before the row's own token
  int32_t generated = 0;                   // tokens of the answer so far: the number of this draw
  uint64_t seed = 0;
  std::span<const int32_t> end_ids = {};   // must not be chosen while generated < params->min_tokens
  std::span<const uint32_t> allowed = {};  // bit id % 32 of word id / 32: what a grammar allows; empty: everything
};

enum class SampleFault : uint8_t {
  kNone,
  kNotFinite,       // the model computed a logit that is NaN or +inf, or none that is finite: its weights are damaged
  kNothingAllowed,  // mask, bias and stop rules together leave no token
};

struct Sampled {
  int32_t token = -1;
  float logprob = 0;              // of the token, when params.logprobs
  std::vector<TokenLogprob> top;  // params.top_logprobs of them, most probable first
  SampleFault fault = SampleFault::kNone;
};

// The `count` most probable tokens with their log-probabilities. logits: [V], none NaN or +inf, one finite.
std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, int32_t count);

// No logit is NaN or +inf, and one is finite (-inf is a probability of zero).
bool usable(std::span<const float> logits);

// No penalty, bias, mask or barred end changes them before the filters.
bool takes_logits_as_they_are(const SampleSpec& spec);

// How many of the most probable tokens of a row decide the draw, whatever the others are; 0: all of the row may.
int32_t most_that_decide(const SampleSpec& spec);

class Sampler {
 public:
  // logits: [V], as the backend computed them. own_token: of the row that they follow, counted with the history; -1:
  // none (the row of an image).
  Sampled sample(std::span<const float> logits, const SampleSpec& spec, int32_t own_token);

  // The same from the most_that_decide(spec) best tokens of a usable row, in any order, and any others.
  Sampled sample_most(std::span<const Candidate> most, const SampleSpec& spec);

 private:
  std::span<const float> adjusted(std::span<const float> logits, const SampleSpec& spec, int32_t own_token);
  void collect_window(const SampleSpec& spec, int32_t own_token);
  void collect(std::span<const float> logits, const SamplingParams& params);
  void filter(const SamplingParams& params);
  void collect_nucleus(std::span<const float> logits, float top_p);
  void keep_typical(float typical_p);
  void keep_top_p(float top_p);
  void keep_min_p(float min_p);
  int32_t draw(float temperature, double uniform);

  std::vector<float> logits_;          // [V] a changed copy, only where mask, bias or penalties ask for one
  std::vector<uint32_t> window_;       // what penalties count, sorted: 2 * id, and 1 where it is the answer's
  std::vector<Candidate> candidates_;  // what the filters have left
  std::vector<double> weights_;        // of the candidates, relative to the first
};

}  // namespace carat
