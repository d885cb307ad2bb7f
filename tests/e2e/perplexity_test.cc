// carat perplexity on the real 270M: its definition, worked out again from what carat eval says.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "support/npy.h"
#include "support/process.h"
#include "support/real_model.h"

namespace carat {
namespace {

using Json = nlohmann::json;
using test::run_carat;

class PerplexityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto path = test::real_model();
    if (!path) GTEST_SKIP() << "no gemma3:270m-pt in the store";
    model_ = path->string();
    text_ = testing::TempDir() + "perplexity_test.txt";
    std::ofstream(text_) << "The sun rises in the east and sets in the west. Water boils at one hundred degrees, and "
                            "freezes at zero. Birds fly south in autumn, and come back in spring.";
  }
  void TearDown() override { std::filesystem::remove(text_); }
  std::string model_, text_;
};

TEST_F(PerplexityTest, IsTheExponentOfTheMeanSurpriseOfSecondHalves) {
  const auto result = run_carat({"perplexity", model_, text_, "--ctx", "16", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = Json::parse(result.out);

  std::ifstream file(text_);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const Json whole = Json::parse(run_carat({"eval", model_}, {.input = Json{{"text", text}}.dump() + "\n"}).out);
  const auto ids = whole["ids"].get<std::vector<int32_t>>();
  const size_t chunks = ids.size() / 16;
  ASSERT_GE(chunks, 2u);
  double sum = 0, squares = 0, count = 0;
  for (size_t c = 0; c < chunks; ++c) {
    std::vector<int32_t> chunk(ids.begin() + static_cast<ptrdiff_t>(16 * c),
                               ids.begin() + static_cast<ptrdiff_t>(16 * c + 16));
    chunk[0] = 2;
    const std::string logits_path = testing::TempDir() + "perplexity_test.npy";
    const std::string line = Json{{"ids", chunk}}.dump() + "\n";
    ASSERT_EQ(run_carat({"eval", model_, "--prompt-logprobs", "--logits", logits_path}, {.input = line}).exit_code, 0);
    const std::vector<float> logits = test::read_npy(logits_path).values;
    std::filesystem::remove(logits_path);
    const size_t vocabulary = logits.size() / chunk.size();
    for (size_t position = 8; position < 15; ++position) {
      const float* row = logits.data() + position * vocabulary;
      double total = 0;
      for (size_t i = 0; i < vocabulary; ++i) total += std::exp(static_cast<double>(row[i]));
      const double surprise = std::log(total) - row[chunk[position + 1]];
      sum += surprise, squares += surprise * surprise, ++count;
    }
  }
  EXPECT_EQ(json["tokens_scored"], count);
  EXPECT_EQ(count, 7.0 * static_cast<double>(chunks));
  const double mean = sum / count;
  // The same logits, summed in double in two orders: rounding of 262,144 terms, 2^-53 each, is far below 1e-9.
  EXPECT_NEAR(json["perplexity"].get<double>(), std::exp(mean), 1e-9 * std::exp(mean));
  const double error = std::exp(mean) * std::sqrt((squares / count - mean * mean) / (count - 1));
  EXPECT_NEAR(json["standard_error"].get<double>(), error, 1e-7 * error);
}

TEST_F(PerplexityTest, SaysWhatIsWrong) {
  const auto too_short = run_carat({"perplexity", model_, text_, "--ctx", "512"});
  EXPECT_EQ(too_short.exit_code, 2);
  EXPECT_NE(too_short.err.find("a chunk needs 512"), std::string::npos) << too_short.err;
  EXPECT_EQ(run_carat({"perplexity", model_, text_, "--ctx", "3"}).exit_code, 2);
  EXPECT_EQ(run_carat({"perplexity", model_, "/nonexistent"}).exit_code, 1);
}

}  // namespace
}  // namespace carat
