// carat tokenize on the real 270M: the golden texts through the program, from the vocabulary in its GGUF. Skipped where
// the model was never pulled.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/json.h"
#include "support/paths.h"
#include "support/process.h"
#include "support/real_model.h"

namespace carat {
namespace {

using test::run_carat;

class TokenizeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto path = test::real_model();
    if (!path) GTEST_SKIP() << "no gemma3:270m-pt in the store";
    model_ = path->string();
  }
  test::ProcessResult tokenize(std::vector<std::string> arguments, const std::string& input) const {
    arguments.insert(arguments.begin(), {"tokenize", model_});
    return run_carat(std::move(arguments), {.input = input});
  }
  std::string model_;
};

TEST_F(TokenizeTest, PrintsIds) {
  const std::string text = "Why is the sky blue?";
  EXPECT_EQ(tokenize({}, text).out, "11355 563 506 7217 3730 236881\n");
  EXPECT_EQ(tokenize({"--bos", "--json"}, text).out, "[2, 11355, 563, 506, 7217, 3730, 236881]\n");
  EXPECT_EQ(tokenize({}, "").out, "\n");
  EXPECT_EQ(tokenize({}, "<start_of_turn>").out, "105\n");
  EXPECT_EQ(tokenize({"--no-control"}, "<start_of_turn>").out, "236820 3041 236779 1340 236779 887 236813\n");
}

TEST_F(TokenizeTest, EqualsHuggingFaceOnEveryGoldenText) {
  std::ifstream file(std::filesystem::path(kSourceDir) / "tests/golden/tokenizer/cases.jsonl");
  const std::string golden(std::istreambuf_iterator<char>(file), {});
  const auto result = tokenize({"--jsonl"}, golden);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  std::istringstream expected_lines(golden);
  std::istringstream lines(result.out);
  int count = 0;
  for (std::string expected_line, line; std::getline(expected_lines, expected_line); ++count) {
    ASSERT_TRUE(std::getline(lines, line));
    const auto expected = nlohmann::json::parse(expected_line);
    const auto got = nlohmann::json::parse(line);
    EXPECT_EQ(got["ids"], expected["ids"]) << expected["text"];
    EXPECT_EQ(got["decoded"], expected["decoded"]);
  }
  EXPECT_EQ(count, 845);
}

TEST_F(TokenizeTest, BadLinesAreNamed) {
  const auto result = tokenize({"--jsonl"}, "{\"text\": \"a\"}\n\n{\"txt\": \"a\"}\n");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err, "Error: line 3: expected {\"text\": \"...\"}\n");
}

}  // namespace
}  // namespace carat
