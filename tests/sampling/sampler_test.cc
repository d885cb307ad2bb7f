// Every option of the sampler against distributions small enough to work out by hand, by counting draws.
#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/random.h"
#include "sampling/softmax.h"

namespace carat {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

SamplingParams plain() {
  SamplingParams params;
  params.top_k = 0;
  params.top_p = 1;
  return params;
}

std::vector<float> log_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

std::vector<int> count_draws(const std::vector<float>& logits, const SamplingParams& params, int draws,
                             std::vector<int32_t> history = {}) {
  Sampler sampler;
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i) {
    const auto sampled = sampler.sample(logits, {&params, history, i % 97, static_cast<uint64_t>(i / 97), {}, {}}, -1);
    ++counts[static_cast<size_t>(sampled.token)];
  }
  return counts;
}

// Pearson's statistic against 1e-6 tail of chi-square, by Wilson and Hilferty's approximation (z = 4.7534).
void expect_distribution(const std::vector<int>& counts, const std::vector<double>& weights) {
  double total_weight = 0, draws = 0, statistic = 0, df = -1;
  for (double w : weights) total_weight += w;
  for (int n : counts) draws += n;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = draws * weights[i] / total_weight;
    if (expected == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " cannot be drawn";
      continue;
    }
    statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
    ++df;
  }
  if (df < 1) return;
  const double critical = df * std::pow(1 - 2 / (9 * df) + 4.7534 * std::sqrt(2 / (9 * df)), 3);
  EXPECT_LT(statistic, critical);
}

const std::vector<double> kEight{0.3, 0.02, 0.2, 0.08, 0.15, 0.05, 0.1, 0.1};

TEST(Sampler, PlainSamplingFollowsTheDistribution) {
  expect_distribution(count_draws(log_of(kEight), plain(), 40000), kEight);
}

TEST(Sampler, TheStatisticRejectsAWrongDistribution) {
  const auto counts = count_draws(log_of(kEight), plain(), 40000);
  std::vector<double> wrong = kEight;
  std::swap(wrong[2], wrong[4]);
  double statistic = 0;
  for (size_t i = 0; i < wrong.size(); ++i) {
    statistic += std::pow(counts[i] - 40000 * wrong[i], 2) / (40000 * wrong[i]);
  }
  EXPECT_GT(statistic, 45);
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  for (double temperature : {0.5, 0.9, 2.0}) {
    SamplingParams params = plain();
    params.temperature = static_cast<float>(temperature);
    std::vector<double> weights;
    for (double p : kEight) weights.push_back(std::pow(p, 1 / temperature));
    expect_distribution(count_draws(log_of(kEight), params, 40000), weights);
  }
}

TEST(Sampler, TemperatureZeroIsArgmaxWithTheLowestIdOnTies) {
  SamplingParams params;
  params.temperature = 0;
  Sampler sampler;
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 2, 3}, {.params = &params}, -1).token, 1);
}

TEST(Sampler, TopKKeepsTheKBestTheLowerIdAmongEquals) {
  SamplingParams params = plain();
  params.top_k = 5;  // 0.1 is there twice: token 6 stays, token 7 goes
  expect_distribution(count_draws(log_of(kEight), params, 30000), {0.3, 0, 0.2, 0, 0.15, 0, 0.1, 0.1});
  params.top_k = 4;
  expect_distribution(count_draws(log_of(kEight), params, 30000), {0.3, 0, 0.2, 0, 0.15, 0, 0.1, 0});
}

// What a device finds out of a row, as draw_needs() asks, and what is drawn from that.
std::optional<int32_t> draw_of_needs(Sampler& sampler, const std::vector<float>& logits, const SampleSpec& spec,
                                     size_t more) {
  const DrawNeeds needs = draw_needs(*spec.params, 64);
  const double peak = largest_logit(logits);
  std::vector<Candidate> most;
  std::vector<double> sums;
  const auto piece = [&](size_t first) {
    return std::span<const float>(logits).subspan(first, std::min<size_t>(kPieceLogits, logits.size() - first));
  };
  if (needs.temperature > 0) {
    for (size_t first = 0; first < logits.size(); first += kPieceLogits) {
      sums.push_back(sum_of_piece(piece(first), peak, needs.temperature));
    }
  }
  if (needs.top > 0) select_top(logits, static_cast<size_t>(needs.top) + more, most);
  std::reverse(most.begin(), most.end());
  for (size_t id = 0; id < logits.size(); ++id) {
    if (needs.below < 0 && logits[id] >= peak + needs.below) most.push_back({static_cast<int32_t>(id), logits[id]});
  }
  switch (needs.from) {
    case DrawFrom::kBest:
      return argmax(logits);
    case DrawFrom::kTop:
    case DrawFrom::kMinP:
      return sampler.choose_of_most(most, spec);
    case DrawFrom::kNucleus:
      return sampler.choose_of_nucleus(most, peak, sums, spec);
    case DrawFrom::kAll: {
      const Sampler::Piece chosen = Sampler::choose_piece(sums, spec);
      return Sampler::choose_in_piece(piece(chosen.number * kPieceLogits), chosen, peak, spec);
    }
    case DrawFrom::kRow:
      break;
  }
  return std::nullopt;
}

TEST(Sampler, DrawsTheSameFromWhatDecides) {
  Sampler whole, few;
  int undecided = 0;
  std::vector<int> from(6);
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    std::vector<float> logits(seed % 10 == 0 ? 5000 : 300);
    for (size_t i = 0; i < logits.size(); ++i) {  // with equals among them, and some that cannot be drawn
      const double x = uniform_draw(seed, i);
      logits[i] = x < 0.1 ? kMinusInfinity : static_cast<float>(std::floor(x * 60) / (seed % 4 == 0 ? 2 : 8));
    }
    SamplingParams params;
    params.top_k = seed % 2 == 0 ? 0 : 1 + static_cast<int32_t>(seed % 70);
    params.top_p = seed % 3 == 0 ? 1 : 0.3f;
    params.typical_p = seed % 5 == 1 ? 0.7f : 1;
    params.min_p = seed % 7 < 2 ? 0.05f : 0;
    params.temperature = seed % 11 == 0 ? 0 : seed % 13 == 0 ? 0.7f : 1;
    const SampleSpec spec{.params = &params, .generated = 3, .seed = seed};
    ++from[static_cast<size_t>(draw_needs(params, 64).from)];
    const auto token = draw_of_needs(few, logits, spec, seed % 10);
    if (!token) {
      ++undecided;
      continue;
    }
    EXPECT_EQ(*token, whole.sample(logits, spec, -1).token) << seed;
  }
  for (size_t kind = 0; kind < from.size(); ++kind) EXPECT_GT(from[kind], 20) << kind;
  EXPECT_LT(undecided, 1000);
}

TEST(Sampler, WhatDecidesFollowsFromTheParameters) {
  SamplingParams params;
  EXPECT_EQ(draw_needs(params, 64).from, DrawFrom::kTop);
  EXPECT_EQ(draw_needs(params, 63).from, DrawFrom::kRow);
  params.top_k = 0;
  EXPECT_EQ(draw_needs(params, 64).from, DrawFrom::kNucleus);
  params.top_p = 1;
  EXPECT_EQ(draw_needs(params, 64).from, DrawFrom::kAll);
  params.min_p = 0.5f;
  EXPECT_EQ(draw_needs(params, 64).from, DrawFrom::kMinP);
  EXPECT_EQ(draw_needs(params, 64).below, log_positive(0.5));
  params.typical_p = 0.5f;
  EXPECT_EQ(draw_needs(params, 64).from, DrawFrom::kRow);
  params.temperature = 0;
  EXPECT_EQ(draw_needs(params, 64).from, DrawFrom::kBest);
}

TEST(Sampler, AdjustmentsNameEachTokenOnce) {
  SamplingParams params;
  params.logit_bias = {{3, 1.5f}, {9, -2}};
  params.repetition_penalty = 2;
  params.frequency_penalty = 0.5f;
  params.min_tokens = 9;
  const int32_t end[] = {9, 1}, history[] = {4, 3, 4};
  Sampler sampler;
  const auto list = sampler.adjustments({.params = &params, .history = history, .generated = 1, .end_ids = end}, 7);
  std::vector<int32_t> ids;
  std::vector<float> of_six;
  for (const Adjustment& a : list) {
    ids.push_back(a.id);
    of_six.push_back(adjusted_logit(a, 6));
  }
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 3, 4, 7, 9}));
  EXPECT_EQ(of_six, (std::vector<float>{kMinusInfinity, 3.25f, 2, 2.5f, kMinusInfinity}));
}

TEST(Sampler, TopPKeepsTheSmallestSetThatHoldsIt) {
  SamplingParams params = plain();
  params.top_p = 0.6f;  // 0.3 + 0.2 + 0.15
  const std::vector<double> expected{0.3, 0, 0.2, 0, 0.15, 0, 0, 0};
  expect_distribution(count_draws(log_of(kEight), params, 30000), expected);
  params.top_k = 8;  // by the other path: candidates already sorted
  expect_distribution(count_draws(log_of(kEight), params, 30000), expected);
  params.top_p = 0;
  expect_distribution(count_draws(log_of(kEight), params, 100), {1, 0, 0, 0, 0, 0, 0, 0});
}

TEST(Sampler, TopPWorksOnWhatTopKLeft) {
  SamplingParams params = plain();
  params.top_k = 3;     // 0.3 0.2 0.15 of 0.65
  params.top_p = 0.7f;  // 0.3 + 0.2 = 0.77 of what is left
  expect_distribution(count_draws(log_of(kEight), params, 30000), {0.3, 0, 0.2, 0, 0, 0, 0, 0});
}

TEST(Sampler, NucleusOfALargeVocabularyIsFoundWithoutTopK) {
  std::vector<double> flat(5000, 1.0);
  SamplingParams params = plain();
  params.top_p = 0.5f;
  const auto counts = count_draws(log_of(flat), params, 400);
  int drawn_from_first_half = 0;
  for (size_t i = 0; i < 2501; ++i) drawn_from_first_half += counts[i];
  EXPECT_EQ(drawn_from_first_half, 400);  // equal logits rank by id
}

TEST(Sampler, MinPDropsWhatIsFarBelowTheBest) {
  SamplingParams params = plain();
  params.min_p = 0.4f;  // 0.12 and more
  expect_distribution(count_draws(log_of(kEight), params, 30000), {0.3, 0, 0.2, 0, 0.15, 0, 0, 0});
}

TEST(Sampler, TypicalPKeepsWhatSurprisesAsExpected) {
  // Entropy of {0.6, 0.2, 0.1, 0.1}: 1.089 nats; surprises 0.511, 1.609, 2.303, 2.303: distances 0.578,
  // 0.520, 1.21, 1.21.
  SamplingParams params = plain();
  params.typical_p = 0.15f;
  expect_distribution(count_draws(log_of({0.6, 0.2, 0.1, 0.1}), params, 100), {0, 1, 0, 0});
  params.typical_p = 0.7f;
  expect_distribution(count_draws(log_of({0.6, 0.2, 0.1, 0.1}), params, 20000), {0.6, 0.2, 0, 0});
}

TEST(Sampler, LogitBiasIsAdded) {
  SamplingParams params = plain();
  params.logit_bias = {{0, static_cast<float>(std::log(3.0))}, {2, -100}};
  expect_distribution(count_draws(log_of({0.25, 0.25, 0.25, 0.25}), params, 20000), {0.75, 0.25, 1e-9, 0.25});
}

TEST(Sampler, PenaltiesCountTheWindow) {
  const std::vector<float> logits{1.0f, 1.0f, -1.0f, 1.0f};
  const std::vector<int32_t> history{3, 0, 0, 2};
  SamplingParams params = plain();
  params.repeat_last_n = 3;  // 0, 0, 2: token 3 is out of the window
  params.repetition_penalty = 2;
  expect_distribution(count_draws(logits, params, 30000, history),
                      {std::exp(0.5), std::exp(1.0), std::exp(-2.0), std::exp(1.0)});
  params.repetition_penalty = 1;
  params.presence_penalty = 0.5f;
  params.frequency_penalty = 0.25f;
  expect_distribution(count_draws(logits, params, 30000, history),
                      {std::exp(1 - 0.5 - 0.5), std::exp(1.0), std::exp(-1 - 0.25 - 0.5), std::exp(1.0)});
  params.repeat_last_n = -1;
  expect_distribution(count_draws(logits, params, 30000, history),
                      {std::exp(0.0), std::exp(1.0), std::exp(-1.75), std::exp(0.25)});
  params.repeat_last_n = 0;
  expect_distribution(count_draws(logits, params, 30000, history),
                      {std::exp(1.0), std::exp(1.0), std::exp(-1.0), std::exp(1.0)});
}

TEST(Sampler, MinTokensBarsTheEnd) {
  SamplingParams params;
  params.temperature = 0;
  params.min_tokens = 2;
  const std::vector<float> logits{0, 5, 4};
  const std::vector<int32_t> ends{1};
  Sampler sampler;
  EXPECT_EQ(sampler.sample(logits, {&params, {}, 1, 0, ends, {}}, -1).token, 2);
  EXPECT_EQ(sampler.sample(logits, {&params, {}, 2, 0, ends, {}}, -1).token, 1);
}

TEST(Sampler, LogprobsAreOfTheRawDistribution) {
  SamplingParams params;
  params.temperature = 0;
  params.logit_bias = {{3, 50}};
  params.logprobs = true;
  params.top_logprobs = 3;
  Sampler sampler;
  const Sampled sampled = sampler.sample(log_of(kEight), {.params = &params}, -1);
  EXPECT_EQ(sampled.token, 3);
  EXPECT_NEAR(sampled.logprob, std::log(0.08), 1e-6);
  ASSERT_EQ(sampled.top.size(), 3u);
  EXPECT_EQ(sampled.top[0].id, 0);
  EXPECT_NEAR(sampled.top[0].logprob, std::log(0.3), 1e-6);
  EXPECT_EQ(sampled.top[2].id, 4);
}

TEST(Sampler, TheSameSeedDrawsTheSameTokensOnEveryMachine) {
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(10 * uniform_draw(5, i));
  const SamplingParams params;
  Sampler sampler;
  std::vector<int32_t> tokens;
  for (int32_t n = 0; n < 12; ++n) tokens.push_back(sampler.sample(logits, {&params, {}, n, 42, {}, {}}, -1).token);
  EXPECT_EQ(tokens, (std::vector<int32_t>{364, 978, 758, 5, 661, 5, 161, 630, 149, 350, 766, 729}));
}

TEST(Sampler, DamagedLogitsAreAFaultWhereverTheyStand) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const SamplingParams params;
  Sampler sampler;
  for (float bad : {nan, kMinusInfinity, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(sampler.sample(std::vector<float>(100, bad), {.params = &params}, -1).fault, SampleFault::kNotFinite);
  }
  for (float bad : {nan, std::numeric_limits<float>::infinity()}) {
    for (size_t i : {0, 50, 99}) {
      std::vector<float> logits(100, 1.0f);
      logits[i] = bad;
      EXPECT_EQ(sampler.sample(logits, {.params = &params}, -1).fault, SampleFault::kNotFinite) << bad << " at " << i;
    }
  }
  std::vector<float> one_barred(100, 1.0f);
  one_barred[7] = kMinusInfinity;  // a probability of zero is no damage
  EXPECT_EQ(sampler.sample(one_barred, {.params = &params}, -1).fault, SampleFault::kNone);
}

TEST(Sampler, OnlyWhatTheMaskAllowsIsDrawn) {
  std::vector<float> logits(70, 0.0f);
  logits[3] = 9;
  const std::vector<uint32_t> allowed{0, 1u << 8, 1u << 1};  // ids 40 and 65
  SamplingParams params = plain();
  Sampler sampler;
  int of_40 = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Sampled sampled = sampler.sample(logits, {&params, {}, 0, seed, {}, allowed}, -1);
    ASSERT_TRUE(sampled.token == 40 || sampled.token == 65) << sampled.token;
    of_40 += sampled.token == 40 ? 1 : 0;
  }
  EXPECT_GT(of_40, 50);
  EXPECT_LT(of_40, 150);
}

TEST(Sampler, AMaskThatAllowsNothingIsAFaultNeverABarredToken) {
  const std::vector<float> logits(40, 1.0f);
  const std::vector<uint32_t> nothing{0, 0}, only_5{1u << 5, 0};
  const std::vector<int32_t> ends{5};
  Sampler sampler;
  for (float temperature : {0.0f, 1.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    EXPECT_EQ(sampler.sample(logits, {&params, {}, 0, 1, {}, nothing}, -1).fault, SampleFault::kNothingAllowed);
    params.min_tokens = 1;  // bars the only id that the mask leaves
    EXPECT_EQ(sampler.sample(logits, {&params, {}, 0, 1, ends, only_5}, -1).fault, SampleFault::kNothingAllowed);
    EXPECT_EQ(sampler.sample(logits, {&params, {}, 1, 1, ends, only_5}, -1).token, 5);
  }
}

TEST(Sampler, TheRowsOwnTokenCountsAsTheLastOfTheHistory) {
  const std::vector<float> logits{1.0f, 0.9f, 0.5f};
  SamplingParams params;
  params.temperature = 0;
  params.presence_penalty = 1;
  params.repeat_last_n = 1;
  const std::vector<int32_t> history{1};
  Sampler sampler;
  EXPECT_EQ(sampler.sample(logits, {&params, history, 0, 0, {}, {}}, 0).token, 1);   // only the own token is recent
  EXPECT_EQ(sampler.sample(logits, {&params, history, 0, 0, {}, {}}, -1).token, 0);  // only the history
}

// vLLM's presence and frequency penalties know the answer alone, its repetition penalty the prompt too.
TEST(Penalties, MayCountTheAnswerOnly) {
  const std::vector<float> logits{2.0f, 1.9f, 1.8f};
  const std::vector<int32_t> history{0, 0, 1};  // the prompt is 0 0, the answer 1 and the own token
  SamplingParams params = plain();
  params.temperature = 0;
  params.repeat_last_n = -1;
  params.presence_penalty = 0.5f;
  Sampler sampler;
  const auto token = [&](int32_t generated, int32_t own) {
    return sampler.sample(logits, {&params, history, generated, 0, {}, {}}, own).token;
  };
  EXPECT_EQ(token(2, 2), 0);  // all three are penalised alike
  params.count_answer_only = true;
  EXPECT_EQ(token(2, 2), 0);
  EXPECT_EQ(token(4, 2), 0);  // all of it is the answer
  params.presence_penalty = 0;
  params.frequency_penalty = 0.5f;
  EXPECT_EQ(token(2, 0), 2);  // 0 and 1 once each
  EXPECT_EQ(token(1, 0), 1);
  EXPECT_EQ(token(0, 0), 0);  // nothing is the answer yet
  params.frequency_penalty = 0;
  params.repetition_penalty = 2;
  EXPECT_EQ(token(0, 1), 2);
}

}  // namespace
}  // namespace carat
