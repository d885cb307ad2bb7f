// carat run on the real 270M: what a user types, pipes and interrupts. Skipped where the model was never pulled.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "support/paths.h"
#include "support/process.h"
#include "support/real_model.h"

namespace carat {
namespace {

using test::run_carat;

class RunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto path = test::real_model();
    if (!path) GTEST_SKIP() << "no gemma3:270m-pt in the store";
    model_ = path->string();
  }
  test::ProcessResult run(std::vector<std::string> arguments, test::ProcessOptions options = {}) const {
    arguments.insert(arguments.begin(), {"run", model_});
    return run_carat(std::move(arguments), options);
  }
  std::string model_;
};

TEST_F(RunTest, CompletesPlainTextAndWritesNothingElse) {
  const auto result = run({"--raw", "--temp", "0", "-n", "1", "Question: What is the capital of France?\nAnswer:"});
  EXPECT_EQ(result.out, " Paris\n");
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(result.exit_code, 0);
}

TEST_F(RunTest, StopStringsEndTheAnswer) {
  const auto result =
      run({"--raw", "--temp", "0", "-n", "20", "--stop", "\n", "Question: What is the capital of France?\nAnswer:"});
  EXPECT_EQ(result.out, " Paris\n");
}

TEST_F(RunTest, PipedTextComesBeforeThePrompt) {
  const auto piped = run({"--raw", "--temp", "0", "-n", "8", "is the capital of"}, {.input = "Paris"});
  const auto whole = run({"--raw", "--temp", "0", "-n", "8", "Paris is", "the capital of"});
  EXPECT_EQ(piped.out, whole.out);
  EXPECT_EQ(run({"--raw", "--temp", "0", "-n", "8"}, {.input = "Paris is the capital of"}).out, whole.out);
}

TEST_F(RunTest, TheSameSeedGivesTheSameText) {
  const std::vector<std::string> arguments{"--raw", "--seed", "7", "-n", "24", "Once upon a time"};
  const auto first = run(arguments);
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(run(arguments).out, first.out);
  EXPECT_NE(run({"--raw", "--seed", "8", "-n", "24", "Once upon a time"}).out, first.out);
}

TEST_F(RunTest, VerbosePrintsTheEightFiguresToStandardError) {
  const auto result = run({"--raw", "--verbose", "--temp", "0", "-n", "4", "Once upon a time"});
  const std::string duration = "[0-9.]+(ns|µs|ms|s)\n";
  const std::regex figures("memory: weights [^\n]*\nbackend: [^\n]*\n\ntotal duration:       " + duration +
                           "load duration:        " + duration + "prompt eval count:    5 token\\(s\\)\n" +
                           "prompt eval duration: " + duration + "prompt eval rate:     [0-9]+\\.[0-9]{2} tokens/s\n" +
                           "eval count:           4 token\\(s\\)\n" + "eval duration:        " + duration +
                           "eval rate:            [0-9]+\\.[0-9]{2} tokens/s\n");
  EXPECT_TRUE(std::regex_match(result.err, figures)) << result.err;
}

TEST_F(RunTest, ABudgetIsKeptOrRefusedBeforeAnythingIsLoaded) {
  // The limit is of private memory: beyond it the kernel gives nothing.
  const auto limited = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {"/bin/sh", "-c", "ulimit -d 353280; exec \"$@\"", "sh", kCaratBinary, "run", model_});
    return test::run_process(arguments);
  };
  const auto result = limited({"--raw", "--temp", "0", "-n", "4", "--memory", "345M", "--verbose", "Once"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("memory: a prefix cache of"), std::string::npos) << result.err;
  const auto refused = limited({"--memory", "200M", "Once"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.err.rfind("Error: not enough memory: ", 0), 0u) << refused.err;
  EXPECT_NE(refused.err.find("--memory has 209 MB"), std::string::npos) << refused.err;
  EXPECT_EQ(run({"--memory", "lots", "Once"}).exit_code, 2);
}

TEST_F(RunTest, CtrlCEndsWithWhatWasWritten) {
  const auto result =
      run({"--raw", "--ignore-eos", "--temp", "0", "-n", "2000", "Once upon a time"}, {.interrupt_after_bytes = 20});
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_GE(result.out.size(), 20u);
  EXPECT_TRUE(result.out.ends_with('\n'));
  EXPECT_EQ(result.err, "");
}

TEST_F(RunTest, BadInputIsOneLineAndAnExitCode) {
  const struct {
    std::vector<std::string> arguments;
    std::string message;
    int exit_code;
  } cases[] = {
      {{"--temp", "-1", "x"}, "Error: temperature is -1, expected 0 to 100\n`carat run --help` says more.\n", 2},
      {{"--temp", "nan", "x"}, "Error: temperature is nan, expected 0 to 100\n`carat run --help` says more.\n", 2},
      {{"--top-k", "many", "x"}, "Error: top_k: invalid int value [many]\n`carat run --help` says more.\n", 2},
      {{"--logit-bias", "262144=1", "x"}, "Error: logit_bias names token 262144, expected ids from 0 to 262143\n", 2},
      {{"--num-ctx", "4", "a prompt of many words"}, "", 1},
      {{"--format", "json", "--regex", "a", "x"},
       "Error: an answer has one shape: --format, --regex, --choice or --grammar, not two of them\n",
       2},
      {{}, "Error: no prompt: give one after the model's name, or on standard input\n", 2},
      {{"--raw", "--system", "y", "x"},
       "Error: plain completion has no place for a system text: put it into the prompt\n",
       2},
  };
  for (const auto& one : cases) {
    const auto result = run(one.arguments);
    EXPECT_TRUE(one.message.empty() || result.err == one.message) << result.err;
    EXPECT_EQ(result.exit_code, one.exit_code) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

}  // namespace
}  // namespace carat
