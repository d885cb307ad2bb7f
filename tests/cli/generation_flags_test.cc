#include "cli/generation_flags.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

namespace carat::cli {
namespace {

chat::GenerationOptions parse(const std::string& command_line, chat::GenerationOptions options = {}) {
  CLI::App app;
  chat::GivenOptions given;
  add_generation_flags(app, given);
  std::vector<std::string> prompt;
  app.add_option("PROMPT", prompt);
  app.parse(command_line);
  EXPECT_TRUE(chat::apply(given, options).ok());
  return options;
}

TEST(GenerationFlags, EverySpellingIsUnderstood) {
  for (const char* line : {"--temperature 0.25", "--temp 0.25", "--temp=0.25"}) {
    EXPECT_EQ(parse(line).sampling.temperature, 0.25f) << line;
  }
  for (const char* line : {"--repeat-penalty 1.5", "--repetition-penalty 1.5", "--repeat_penalty 1.5"}) {
    EXPECT_EQ(parse(line).sampling.repetition_penalty, 1.5f) << line;
  }
  for (const char* line : {"-n 7", "--num-predict 7", "--max-tokens 7", "--max_tokens 7", "--n-predict 7"}) {
    EXPECT_EQ(parse(line).sampling.max_tokens, 7) << line;
  }
  for (const char* line : {"-c 100", "--num-ctx 100", "--ctx-size 100"}) EXPECT_EQ(parse(line).context, 100) << line;
  EXPECT_EQ(parse("--top_k 3").sampling.top_k, 3);
  EXPECT_EQ(parse("--seed 12").sampling.seed, 12u);
}

TEST(GenerationFlags, NegativeNumbersAreValues) {
  EXPECT_EQ(parse("--num-predict -1").sampling.max_tokens, -1);
  EXPECT_EQ(parse("--num-predict -2").sampling.max_tokens, -1);
  EXPECT_EQ(parse("--repeat-last-n -1").sampling.repeat_last_n, -1);
  EXPECT_EQ(parse("--presence-penalty -0.5").sampling.presence_penalty, -0.5f);
  EXPECT_FALSE(parse("--seed -1").sampling.seed);
}

TEST(GenerationFlags, AFlagTakesOneValueAndLeavesThePrompt) {
  CLI::App app;
  chat::GivenOptions given;
  add_generation_flags(app, given);
  std::vector<std::string> prompt;
  app.add_option("PROMPT", prompt);
  app.parse("--temp 0 --stop a some words --stop b");
  EXPECT_EQ(prompt, (std::vector<std::string>{"some", "words"}));
  chat::GenerationOptions options;
  options.stops = {"of the model"};
  ASSERT_TRUE(chat::apply(given, options).ok());
  EXPECT_EQ(options.stops, (std::vector<std::string>{"a", "b"}));
}

TEST(GenerationFlags, TheLastOneCountsAndBiasesAddUp) {
  EXPECT_EQ(parse("--temp 0.1 --temperature 0.2").sampling.temperature, 0.2f);
  const auto bias = parse("--logit-bias 5=1.5 --logit-bias 6=-2").sampling.logit_bias;
  EXPECT_EQ(bias, (std::map<int32_t, float>{{5, 1.5f}, {6, -2.0f}}));
  EXPECT_TRUE(parse("--ignore-eos").sampling.ignore_eos);
}

}  // namespace
}  // namespace carat::cli
