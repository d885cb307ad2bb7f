// From a row of logits to a token. It keeps no state between tokens but scratch memory: what it returns is a function
// of the logits, the parameters, the seed, the history and the number of the token, so replays and re-batching change
// nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "sampling/adjustment.h"
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

// What of a row, after all adjustments, decides which token is chosen: a device finds it out where the row lies.
enum class DrawFrom : uint8_t {
  kBest,     // its first
  kTop,      // the `top` best
  kNucleus,  // the same, if they hold enough of all probability, of which the pieces' sums tell; else the row
  kMinP,     // all that min_p leaves
  kAll,      // the pieces' sums by temperature, then one piece
  kRow,      // the row
};
struct DrawNeeds {
  DrawFrom from = DrawFrom::kRow;
  int32_t top = 0;
  double below = 0;        // kMinP: the most that a logit may lie below the best, negative
  double temperature = 0;  // of the sums; 0: none
};
// `most_top`: as many as can be found.
DrawNeeds draw_needs(const SamplingParams& params, int32_t most_top);

class Sampler {
 public:
  // logits: [V], as the backend computed them. own_token: of the row that they follow, counted with the history; -1:
  // none (the row of an image).
  Sampled sample(std::span<const float> logits, const SampleSpec& spec, int32_t own_token);

  // The same in parts. What happens to single logits, by id, each once; spec.allowed bars more. Valid until the next call.
  std::span<const Adjustment> adjustments(const SampleSpec& spec, int32_t own_token);
  // The token of a row with all that done; -1: none is allowed.
  int32_t choose(std::span<const float> row, const SampleSpec& spec);
  // Of kTop and kMinP: the candidates that draw_needs() asks for, in any order, and any that rank behind all of them.
  int32_t choose_of_most(std::span<const Candidate> most, const SampleSpec& spec);
  // Of kNucleus: none where they do not hold enough. peak: the best logit.
  std::optional<int32_t> choose_of_nucleus(std::span<const Candidate> most, double peak, std::span<const double> sums,
                                           const SampleSpec& spec);
  // Of kAll: which piece the draw falls into, and then the token, from that piece of logits.
  struct Piece {
    size_t number = 0;
    double before = 0, target = 0;
  };
  static Piece choose_piece(std::span<const double> sums, const SampleSpec& spec);
  static int32_t choose_in_piece(std::span<const float> logits, const Piece& piece, double peak,
                                 const SampleSpec& spec);
  // The log-probabilities that were asked for, of the row before anything was done to it: the token's logit, the log of
  // all weights, the best tokens in any order and any others.
  static void tell_logprobs(Sampled& sampled, float logit, double log_total, std::vector<Candidate> best,
                            const SamplingParams& params);

 private:
  void collect_window(const SampleSpec& spec, int32_t own_token);
  void take_candidates(std::span<const Candidate> most);
  bool hold_nucleus(float top_p, double log_total);
  void collect(std::span<const float> logits, const SamplingParams& params);
  void filter(const SamplingParams& params);
  void collect_nucleus(std::span<const float> logits, float top_p);
  void keep_typical(float typical_p);
  void keep_top_p(float top_p);
  void keep_min_p(float min_p);
  int32_t draw(float temperature, double uniform);

  std::vector<float> logits_;     // [V] a changed copy, only where mask, bias or penalties ask for one
  std::vector<uint32_t> window_;  // what penalties count, sorted: 2 * id, and 1 where it is the answer's
  std::vector<Adjustment> adjustments_;
  std::vector<Candidate> candidates_;  // what the filters have left
  std::vector<double> weights_;        // of the candidates, relative to the first
};

}  // namespace carat
