// Every option of the sampler against distributions small enough to work out by hand, by counting draws.
#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.h"

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

TEST(Sampler, DrawsTheSameFromTheTokensThatDecide) {
  Sampler whole, few;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    std::vector<float> logits(300);
    for (size_t i = 0; i < logits.size(); ++i) {  // with equals among them, and some that cannot be drawn
      const double x = uniform_draw(seed, i);
      logits[i] = x < 0.1 ? kMinusInfinity : static_cast<float>(std::floor(x * 60) / 8);
    }
    SamplingParams params;
    params.top_k = 1 + static_cast<int32_t>(seed % 40);
    params.top_p = seed % 3 == 0 ? 1 : 0.8f;
    params.typical_p = seed % 5 == 0 ? 0.7f : 1;
    params.min_p = seed % 7 == 0 ? 0.05f : 0;
    const SampleSpec spec{.params = &params, .generated = 3, .seed = seed};
    ASSERT_EQ(most_that_decide(spec), params.top_k);
    std::vector<Candidate> most;
    select_top(logits, static_cast<size_t>(params.top_k) + seed % 10, most);
    std::reverse(most.begin(), most.end());
    EXPECT_EQ(few.sample_most(most, spec).token, whole.sample(logits, spec, -1).token) << seed;
  }
}

TEST(Sampler, WhatChangesLogitsNeedsAllOfThem) {
  const int32_t end[] = {1};
  const uint32_t allowed[] = {~0u};
  SamplingParams params;
  EXPECT_EQ(most_that_decide({.params = &params}), 64);
  EXPECT_EQ(most_that_decide({.params = &params, .allowed = allowed}), 0);
  params.min_tokens = 2;
  EXPECT_EQ(most_that_decide({.params = &params, .generated = 1, .end_ids = end}), 0);
  EXPECT_EQ(most_that_decide({.params = &params, .generated = 2, .end_ids = end}), 64);
  for (const auto& change : std::vector<void (*)(SamplingParams&)>{
           [](SamplingParams& p) { p.temperature = 0; }, [](SamplingParams& p) { p.top_k = 0; },
           [](SamplingParams& p) { p.logprobs = true; },
           [](SamplingParams& p) {
             p.logit_bias = {{3, 1.0f}};
           },
           [](SamplingParams& p) { p.repetition_penalty = 1.1f; }, [](SamplingParams& p) { p.presence_penalty = 1; }}) {
    SamplingParams changed;
    change(changed);
    EXPECT_EQ(most_that_decide({.params = &changed}), 0);
  }
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
