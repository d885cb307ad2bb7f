#include "chat/generation_options.h"

#include <gtest/gtest.h>

namespace carat::chat {
namespace {

std::string complaint(std::string_view name, const std::vector<std::string>& values) {
  GenerationOptions options;
  const Status status = set_generation_option(options, name, values);
  return status.ok() ? "" : status.error().message;
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

}  // namespace
}  // namespace carat::chat
