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

double uniform_of(const SampleSpec& spec) { return uniform_draw(spec.seed, static_cast<uint64_t>(spec.generated)); }

bool bars_end(const SampleSpec& spec) { return spec.generated < spec.params->min_tokens && !spec.end_ids.empty(); }

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
  for (; begin + kLanes <= logits.size(); begin += kLanes) {
    // Other cores have just written them: what follows in 4 KiB is asked for.
    constexpr size_t kAhead = 1024, kLine = 16;
    for (size_t i = 0; i < kLanes; i += kLine) {
      __builtin_prefetch(&logits[std::min(begin + kAhead + i, logits.size() - 1)]);
    }
    look(begin, kLanes);
  }
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
  std::span<const float> row = logits;
  if (!takes_logits_as_they_are(spec)) {
    logits_.assign(logits.begin(), logits.end());
    for (const Adjustment& a : adjustments(spec, own_token)) {
      float& logit = logits_[static_cast<size_t>(a.id)];
      logit = adjusted_logit(a, logit);
    }
    for (size_t id = 0; !spec.allowed.empty() && id < logits_.size(); ++id) {
      if ((spec.allowed[id / 32] >> (id % 32) & 1u) == 0) logits_[id] = kMinusInfinity;
    }
    row = logits_;
  }
  sampled.token = choose(row, spec);
  if (sampled.token < 0) {
    sampled.fault = SampleFault::kNothingAllowed;
    return sampled;
  }
  if (params.logprobs) {
    std::vector<Candidate> best;
    select_top(logits, static_cast<size_t>(params.top_logprobs), best);
    tell_logprobs(sampled, logits[static_cast<size_t>(sampled.token)], log_sum_exp(logits), std::move(best), params);
  }
  return sampled;
}

void Sampler::tell_logprobs(Sampled& sampled, float logit, double log_total, std::vector<Candidate> best,
                            const SamplingParams& params) {
  sampled.logprob = static_cast<float>(logit - log_total);
  std::sort(best.begin(), best.end(), ranks_before);
  if (best.size() > static_cast<size_t>(params.top_logprobs)) best.resize(static_cast<size_t>(params.top_logprobs));
  sampled.top.clear();
  for (const Candidate& c : best) {
    if (c.logit > kMinusInfinity) sampled.top.push_back({c.id, static_cast<float>(c.logit - log_total)});
  }
}

bool takes_logits_as_they_are(const SampleSpec& spec) {
  const SamplingParams& params = *spec.params;
  return !params.has_penalty() && params.logit_bias.empty() && spec.allowed.empty() && !bars_end(spec);
}

DrawNeeds draw_needs(const SamplingParams& params, int32_t most_top) {
  DrawNeeds needs;
  if (params.temperature == 0) {
    needs.from = DrawFrom::kBest;
  } else if (params.top_k > 0) {
    if (params.top_k <= most_top) needs = {DrawFrom::kTop, params.top_k};
  } else if (params.typical_p < 1 || (params.top_p >= 1 && params.min_p >= 1)) {
    // All of the row; min_p of 1 leaves what equals the best.
  } else if (params.top_p < 1) {
    needs = {DrawFrom::kNucleus, most_top, 0, 1};
  } else if (params.min_p > 0) {
    needs = {DrawFrom::kMinP, 0, log_positive(params.min_p)};
  } else {
    needs = {DrawFrom::kAll, 0, 0, params.temperature};
  }
  return needs;
}

int32_t Sampler::choose(std::span<const float> row, const SampleSpec& spec) {
  const SamplingParams& params = *spec.params;
  if (params.temperature == 0) return argmax(row);
  if (draw_needs(params, 0).from == DrawFrom::kAll) {
    const double peak = largest_logit(row);
    if (!(peak > kMinusInfinity)) return -1;
    weights_.clear();
    for (size_t number = 0; number * kPieceLogits < row.size(); ++number) {
      weights_.push_back(sum_of_piece(piece_of(row, number), peak, params.temperature));
    }
    const Piece piece = choose_piece(weights_, spec);
    return choose_in_piece(piece_of(row, piece.number), piece, peak, spec);
  }
  collect(row, params);
  return draw(params.temperature, uniform_of(spec));
}

void Sampler::take_candidates(std::span<const Candidate> most) {
  candidates_.assign(most.begin(), most.end());
  std::erase_if(candidates_, [](const Candidate& c) { return !(c.logit > kMinusInfinity); });
}

int32_t Sampler::choose_of_most(std::span<const Candidate> most, const SampleSpec& spec) {
  const SamplingParams& params = *spec.params;
  take_candidates(most);
  if (params.top_k > 0) {
    std::sort(candidates_.begin(), candidates_.end(), ranks_before);
    if (candidates_.size() > static_cast<size_t>(params.top_k)) candidates_.resize(static_cast<size_t>(params.top_k));
  } else {  // as collect() has them
    std::sort(candidates_.begin(), candidates_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  }
  filter(params);
  return draw(params.temperature, uniform_of(spec));
}

std::optional<int32_t> Sampler::choose_of_nucleus(std::span<const Candidate> most, double peak,
                                                  std::span<const double> sums, const SampleSpec& spec) {
  const SamplingParams& params = *spec.params;
  take_candidates(most);
  std::sort(candidates_.begin(), candidates_.end(), ranks_before);
  if (candidates_.empty()) return -1;
  if (!hold_nucleus(params.top_p, log_of_sums(peak, sums))) return std::nullopt;
  if (params.min_p > 0) keep_min_p(params.min_p);
  return draw(params.temperature, uniform_of(spec));
}

Sampler::Piece Sampler::choose_piece(std::span<const double> sums, const SampleSpec& spec) {
  Piece piece;
  piece.target = uniform_of(spec) * sum(sums);
  double passed = 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    if (sums[i] == 0) continue;
    piece.number = i;
    piece.before = passed;
    passed += sums[i];
    if (passed > piece.target) break;
  }
  return piece;
}

int32_t Sampler::choose_in_piece(std::span<const float> logits, const Piece& piece, double peak,
                                 const SampleSpec& spec) {
  double passed = piece.before;
  int32_t token = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > kMinusInfinity)) continue;
    token = static_cast<int32_t>(piece.number * kPieceLogits + i);
    passed += sum_of_piece(logits.subspan(i, 1), peak, spec.params->temperature);
    if (passed > piece.target) break;
  }
  return token;
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

std::span<const Adjustment> Sampler::adjustments(const SampleSpec& spec, int32_t own_token) {
  const SamplingParams& params = *spec.params;
  collect_window(spec, own_token);
  adjustments_.clear();
  for (const auto& [id, bias] : params.logit_bias) adjustments_.push_back({id, bias, 1, 0, Adjustment::kBias});
  for (size_t i = 0; i < window_.size();) {
    const uint32_t id = window_[i] / 2;
    int counted = 0;
    for (; i < window_.size() && window_[i] / 2 == id; ++i) {
      if (!params.count_answer_only || window_[i] % 2 == 1) ++counted;
    }
    Adjustment a{static_cast<int32_t>(id), 0, params.repetition_penalty, 0, Adjustment::kRepeated};
    if (counted > 0) {
      a.penalty = params.frequency_penalty * static_cast<float>(counted) + params.presence_penalty;
      a.what |= Adjustment::kPenalty;
    }
    adjustments_.push_back(a);
  }
  if (bars_end(spec)) {
    for (const int32_t id : spec.end_ids) adjustments_.push_back({id, 0, 1, -kMinusInfinity, Adjustment::kPenalty});
  }
  std::sort(adjustments_.begin(), adjustments_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  size_t kept = 0;
  for (size_t i = 0; i < adjustments_.size(); ++i) {
    const Adjustment& a = adjustments_[i];
    if (kept == 0 || adjustments_[kept - 1].id != a.id) {
      adjustments_[kept++] = a;
      continue;
    }
    Adjustment& one = adjustments_[kept - 1];
    if ((a.what & Adjustment::kBias) != 0) one.bias = a.bias;
    if ((a.what & Adjustment::kRepeated) != 0) one.repetition = a.repetition;
    if ((a.what & Adjustment::kPenalty) != 0) one.penalty = a.penalty;
    one.what |= a.what;
  }
  adjustments_.resize(kept);
  return adjustments_;
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
  const double log_total = log_sum_exp(logits);
  for (size_t k = 256;; k *= 8) {
    select_top(logits, k, candidates_);
    if (hold_nucleus(top_p, log_total) || candidates_.size() < k) return;
  }
}

// Cuts the candidates, which are in order of rank, where they hold top_p of all. False: they hold less.
bool Sampler::hold_nucleus(float top_p, double log_total) {
  double held = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    held += exp_nonpositive(std::min(0.0, candidates_[i].logit - log_total));
    if (held < top_p) continue;
    candidates_.resize(i + 1);
    return true;
  }
  return false;
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
