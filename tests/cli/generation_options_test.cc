#include "cli/generation_options.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

namespace carat::cli {
namespace {

std::string complaint(std::string_view name, const std::vector<std::string>& values) {
  GenerationOptions options;
  const Status status = set_generation_option(options, name, values);
  return status.ok() ? "" : status.error().message;
}

GenerationOptions parse(const std::string& command_line, GenerationOptions options = {}) {
  CLI::App app;
  GenerationFlags flags;
  add_generation_flags(app, flags);
  std::vector<std::string> prompt;
  app.add_option("PROMPT", prompt);
  app.parse(command_line);
  EXPECT_TRUE(flags.apply(options).ok());
  return options;
}

TEST(GenerationOptions, ComplainsInOllamasWords) {
  EXPECT_EQ(complaint("wibble", {"3"}), "unknown parameter 'wibble'");
  EXPECT_EQ(complaint("num_ctx", {"abc"}), "invalid int value [abc]");
  EXPECT_EQ(complaint("top_k", {"1.5"}), "invalid int value [1.5]");
  EXPECT_EQ(complaint("temperature", {"hot"}), "invalid float value [hot]");
  EXPECT_EQ(complaint("temperature", {"0.5x"}), "invalid float value [0.5x]");
  EXPECT_EQ(complaint("logit_bias", {"5"}), "invalid ID=BIAS value [5]");
  EXPECT_EQ(complaint("num_gpu", {"99"}), "");
  EXPECT_EQ(complaint("num_gpu", {"all"}), "invalid int value [all]");
  EXPECT_EQ(complaint("temperature", {}), "temperature needs a value");
}

TEST(GenerationOptions, TheModelFileOverridesGemmasDefaults) {
  const GenerationOptions plain = default_generation({});
  EXPECT_EQ(plain.sampling.top_k, 64);
  SamplingDefaults defaults;
  defaults.top_k = 5;
  defaults.temperature = 0.5f;
  EXPECT_EQ(default_generation(defaults).sampling.top_k, 5);
  EXPECT_EQ(default_generation(defaults).sampling.temperature, 0.5f);
  EXPECT_EQ(default_generation(defaults).sampling.top_p, 0.95f);
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
  GenerationFlags flags;
  add_generation_flags(app, flags);
  std::vector<std::string> prompt;
  app.add_option("PROMPT", prompt);
  app.parse("--temp 0 --stop a some words --stop b");
  EXPECT_EQ(prompt, (std::vector<std::string>{"some", "words"}));
  GenerationOptions options;
  options.stops = {"of the model"};
  ASSERT_TRUE(flags.apply(options).ok());
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
