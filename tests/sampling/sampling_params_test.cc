#include "sampling/sampling_params.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace carat {
namespace {

std::string complaint(const std::function<void(SamplingParams&)>& change) {
  SamplingParams params;
  change(params);
  const Status status = validate(params, 100);
  return status.ok() ? "" : status.error().message;
}

TEST(SamplingParams, DefaultsAreGemmasAndValid) {
  const SamplingParams params;
  EXPECT_EQ(params.temperature, 1.0f);
  EXPECT_EQ(params.top_k, 64);
  EXPECT_EQ(params.top_p, 0.95f);
  EXPECT_TRUE(validate(params, 100).ok());
}

TEST(SamplingParams, NanIsRefusedEverywhere) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (float SamplingParams::*field :
       {&SamplingParams::temperature, &SamplingParams::top_p, &SamplingParams::min_p, &SamplingParams::typical_p,
        &SamplingParams::repetition_penalty, &SamplingParams::presence_penalty, &SamplingParams::frequency_penalty}) {
    EXPECT_NE(complaint([&](SamplingParams& p) { p.*field = nan; }), "");
    EXPECT_NE(complaint([&](SamplingParams& p) { p.*field = 1e30f; }), "");
  }
  EXPECT_NE(complaint([&](SamplingParams& p) { p.logit_bias[3] = nan; }), "");
}

TEST(SamplingParams, TheErrorNamesOptionValueAndRange) {
  EXPECT_EQ(complaint([](SamplingParams& p) { p.temperature = -0.5f; }), "temperature is -0.5, expected 0 to 100");
  EXPECT_EQ(complaint([](SamplingParams& p) { p.top_k = -2; }), "top_k is -2, expected -1 or more");
  EXPECT_EQ(complaint([](SamplingParams& p) { p.top_logprobs = 21; }), "top_logprobs is 21, expected 0 to 20");
  EXPECT_EQ(complaint([](SamplingParams& p) { p.logit_bias[100] = 1; }),
            "logit_bias names token 100, expected ids from 0 to 99");
  EXPECT_EQ(complaint([](SamplingParams& p) { p.stop_ids = {-1}; }),
            "stop_ids names token -1, expected ids from 0 to 99");
}

TEST(SamplingParams, EdgesOfTheRangesAreInside) {
  for (float edge : {0.0f, 1.0f}) {
    EXPECT_EQ(complaint([&](SamplingParams& p) { p.top_p = p.min_p = p.typical_p = p.temperature = edge; }), "");
  }
  EXPECT_EQ(complaint([](SamplingParams& p) { p.top_k = -1, p.max_tokens = -1, p.repeat_last_n = -1; }), "");
  EXPECT_NE(complaint([](SamplingParams& p) { p.max_tokens = -2; }), "");
  EXPECT_NE(complaint([](SamplingParams& p) { p.repeat_last_n = -2; }), "");
  EXPECT_NE(complaint([](SamplingParams& p) { p.max_tokens = 3, p.min_tokens = 4; }), "");
  EXPECT_EQ(complaint([](SamplingParams& p) { p.max_tokens = 3, p.min_tokens = 3; }), "");
}

}  // namespace
}  // namespace carat
