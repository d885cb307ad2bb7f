// The filters, in the order that sampling_params.h gives. Probabilities are sums of e^(logit - largest) in double, in a
// fixed order; with top_k on (Gemma's default) everything after one scan of the row touches 64 candidates.
#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.h"
#include "sampling/softmax.h"

namespace carat {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

void weigh(std::span<const Candidate> candidates, double temperature, std::vector<double>& weights) {
  double peak = kMinusInfinity;
  for (const Candidate& c : candidates) peak = std::max<double>(peak, c.logit);
  weights.resize(candidates.size());
  for (size_t i = 0; i < candidates.size(); ++i) {
    weights[i] = exp_nonpositive((candidates[i].logit - peak) / temperature);
  }
}

double sum(std::span<const double> weights) {
  double total = 0;
  for (double w : weights) total += w;
  return total;
}

bool bars_end(const SampleSpec& spec) { return spec.generated < spec.params->min_tokens && !spec.end_ids.empty(); }

void penalize(std::span<const uint32_t> sorted_window, const SamplingParams& params, std::vector<float>& logits) {
  for (size_t i = 0; i < sorted_window.size();) {
    const uint32_t id = sorted_window[i] / 2;
    int counted = 0;
    for (; i < sorted_window.size() && sorted_window[i] / 2 == id; ++i) {
      if (!params.count_answer_only || sorted_window[i] % 2 == 1) ++counted;
    }
    float& logit = logits[id];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    if (counted > 0) logit -= params.frequency_penalty * static_cast<float>(counted) + params.presence_penalty;
  }
}

}  // namespace

std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, int32_t count) {
  std::vector<Candidate> best;
  select_top(logits, static_cast<size_t>(count), best);
  const double total = log_sum_exp(logits);
  std::vector<TokenLogprob> top;
  top.reserve(best.size());
  for (const Candidate& c : best) top.push_back({c.id, static_cast<float>(c.logit - total)});
  return top;
}

// One largest number for each lane: a single one is a chain that no compiler may cut into vectors (0.4 ms of a token).
bool usable(std::span<const float> logits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr size_t kLanes = 32;
  int bad[kLanes] = {};
  float largest[kLanes];
  std::fill_n(largest, kLanes, kMinusInfinity);
  const auto look = [&](size_t begin, size_t count) {
    for (size_t lane = 0; lane < count; ++lane) {
      const float logit = logits[begin + lane];
      bad[lane] |= !(logit < kInfinity);
      largest[lane] = largest[lane] < logit ? logit : largest[lane];
    }
  };
  size_t begin = 0;
  for (; begin + kLanes <= logits.size(); begin += kLanes) look(begin, kLanes);
  look(begin, logits.size() - begin);
  return std::count(bad, bad + kLanes, 0) == kLanes && *std::max_element(largest, largest + kLanes) > kMinusInfinity;
}

Sampled Sampler::sample(std::span<const float> logits, const SampleSpec& spec, int32_t own_token) {
  const SamplingParams& params = *spec.params;
  Sampled sampled;
  if (!usable(logits)) {
    sampled.fault = SampleFault::kNotFinite;
    return sampled;
  }
  const std::span<const float> row = adjusted(logits, spec, own_token);
  if (params.temperature == 0) {
    sampled.token = argmax(row);
  } else {
    collect(row, params);
    sampled.token = draw(params.temperature, uniform_draw(spec.seed, static_cast<uint64_t>(spec.generated)));
  }
  if (sampled.token < 0) {
    sampled.fault = SampleFault::kNothingAllowed;
    return sampled;
  }
  if (params.logprobs) {
    sampled.logprob = static_cast<float>(logits[static_cast<size_t>(sampled.token)] - log_sum_exp(logits));
    if (params.top_logprobs > 0) sampled.top = top_logprobs(logits, params.top_logprobs);
  }
  return sampled;
}

bool takes_logits_as_they_are(const SampleSpec& spec) {
  const SamplingParams& params = *spec.params;
  return !params.has_penalty() && params.logit_bias.empty() && spec.allowed.empty() && !bars_end(spec);
}

int32_t most_that_decide(const SampleSpec& spec) {
  const SamplingParams& params = *spec.params;
  const bool whole = params.temperature == 0 || params.logprobs || !takes_logits_as_they_are(spec);
  return whole ? 0 : std::max(0, params.top_k);
}

Sampled Sampler::sample_most(std::span<const Candidate> most, const SampleSpec& spec) {
  const SamplingParams& params = *spec.params;
  candidates_.assign(most.begin(), most.end());
  std::erase_if(candidates_, [](const Candidate& c) { return !(c.logit > kMinusInfinity); });
  std::sort(candidates_.begin(), candidates_.end(), ranks_before);
  if (candidates_.size() > static_cast<size_t>(params.top_k)) candidates_.resize(static_cast<size_t>(params.top_k));
  filter(params);
  Sampled sampled;
  sampled.token = draw(params.temperature, uniform_draw(spec.seed, static_cast<uint64_t>(spec.generated)));
  return sampled;
}

// None where no penalty asks for them. The newest `generated` tokens, the row's own included, are the answer's.
void Sampler::collect_window(const SampleSpec& spec, int32_t own_token) {
  const SamplingParams& params = *spec.params;
  window_.clear();
  if (!params.has_penalty() || params.repeat_last_n == 0) return;
  const size_t most = params.repeat_last_n > 0 ? static_cast<size_t>(params.repeat_last_n) : SIZE_MAX;
  int32_t answer = spec.generated;
  const auto add = [&](int32_t id) {
    const bool of_answer = answer-- > 0;
    if (id >= 0) window_.push_back(2 * static_cast<uint32_t>(id) + (of_answer ? 1 : 0));
  };
  if (own_token >= 0) add(own_token);
  const size_t count = std::min(spec.history.size(), most - window_.size());
  for (size_t i = 1; i <= count; ++i) add(spec.history[spec.history.size() - i]);
  std::sort(window_.begin(), window_.end());
}

std::span<const float> Sampler::adjusted(std::span<const float> logits, const SampleSpec& spec, int32_t own_token) {
  const SamplingParams& params = *spec.params;
  collect_window(spec, own_token);
  if (takes_logits_as_they_are(spec)) return logits;

  logits_.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : params.logit_bias) logits_[static_cast<size_t>(id)] += bias;
  penalize(window_, params, logits_);
  if (bars_end(spec)) {
    for (int32_t id : spec.end_ids) logits_[static_cast<size_t>(id)] = kMinusInfinity;
  }
  for (size_t id = 0; !spec.allowed.empty() && id < logits_.size(); ++id) {
    if ((spec.allowed[id / 32] >> (id % 32) & 1u) == 0) logits_[id] = kMinusInfinity;
  }
  return logits_;
}

void Sampler::collect(std::span<const float> logits, const SamplingParams& params) {
  const bool nucleus_of_all = params.top_k <= 0 && params.typical_p >= 1 && params.top_p < 1;
  if (nucleus_of_all) {
    collect_nucleus(logits, params.top_p);
  } else if (params.top_k > 0) {
    select_top(logits, static_cast<size_t>(params.top_k), candidates_);
  } else {
    candidates_.clear();
    for (size_t i = 0; i < logits.size(); ++i) {
      if (logits[i] > kMinusInfinity) candidates_.push_back({static_cast<int32_t>(i), logits[i]});
    }
  }
  if (!nucleus_of_all) return filter(params);
  if (params.min_p > 0 && !candidates_.empty()) keep_min_p(params.min_p);
}

void Sampler::filter(const SamplingParams& params) {
  if (candidates_.empty()) return;
  if (params.typical_p < 1) keep_typical(params.typical_p);
  if (params.top_p < 1) keep_top_p(params.top_p);
  if (params.min_p > 0) keep_min_p(params.min_p);
}

// Enough of the most probable tokens of the whole vocabulary to hold top_p, found without sorting all of it.
void Sampler::collect_nucleus(std::span<const float> logits, float top_p) {
  const double total = log_sum_exp(logits);
  for (size_t k = 256;; k *= 8) {
    select_top(logits, k, candidates_);
    double held = 0;
    for (size_t i = 0; i < candidates_.size(); ++i) {
      held += exp_nonpositive(std::min(0.0, candidates_[i].logit - total));
      if (held >= top_p) return candidates_.resize(i + 1);
    }
    if (candidates_.size() < k) return;
  }
}

// Keeps the tokens whose surprise, -log p, lies nearest to its mean, until they hold typical_p.
void Sampler::keep_typical(float typical_p) {
  weigh(candidates_, 1, weights_);
  const double total = sum(weights_);
  double peak = kMinusInfinity;
  for (const Candidate& c : candidates_) peak = std::max<double>(peak, c.logit);
  const double log_total = peak + log_positive(total);
  double entropy = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) entropy += weights_[i] / total * (log_total - candidates_[i].logit);

  const auto distance = [&](const Candidate& c) { return std::abs(log_total - c.logit - entropy); };
  std::sort(candidates_.begin(), candidates_.end(), [&](const Candidate& a, const Candidate& b) {
    const double da = distance(a), db = distance(b);
    return da < db || (da == db && a.id < b.id);
  });
  weigh(candidates_, 1, weights_);
  double held = 0;
  size_t count = 0;
  while (count < candidates_.size() && held < typical_p * total) held += weights_[count++];
  candidates_.resize(std::max<size_t>(count, 1));
  std::sort(candidates_.begin(), candidates_.end(), ranks_before);
}

// candidates_ are in order of rank here: top_k or keep_typical has sorted them.
void Sampler::keep_top_p(float top_p) {
  weigh(candidates_, 1, weights_);
  const double wanted = top_p * sum(weights_);
  double held = 0;
  size_t count = 0;
  while (count < candidates_.size() && held < wanted) held += weights_[count++];
  candidates_.resize(std::max<size_t>(count, 1));
}

void Sampler::keep_min_p(float min_p) {
  double peak = kMinusInfinity;
  for (const Candidate& c : candidates_) peak = std::max<double>(peak, c.logit);
  const double least = peak + log_positive(min_p);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.logit < least; });
}

int32_t Sampler::draw(float temperature, double uniform) {
  if (candidates_.empty()) return -1;
  weigh(candidates_, temperature, weights_);
  const double target = uniform * sum(weights_);
  double passed = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    passed += weights_[i];
    if (passed > target) return candidates_[i].id;
  }
  return candidates_.back().id;
}

}  // namespace carat
