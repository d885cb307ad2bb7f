// What the command line says when it is not understood, and that what it is given arrives as it is.
#include <gtest/gtest.h>

#include <algorithm>

#include "model/fixture.h"
#include "support/process.h"

namespace carat {
namespace {

using test::run_carat;

constexpr const char* kCommands[] = {"run",      "pull",       "list", "show",       "ps",    "stop",
                                     "cp",       "rm",         "eval", "perplexity", "bench", "synth",
                                     "tokenize", "completion", "help", "version"};

TEST(Usage, EveryHelpIsText) {
  for (const char* command : kCommands) {
    const auto help = run_carat({command, "--help"});
    EXPECT_EQ(help.exit_code, 0) << command;
    EXPECT_NE(help.out.find("Usage: carat " + std::string(command)), std::string::npos) << help.out;
    EXPECT_TRUE(std::none_of(help.out.begin(), help.out.end(), [](char c) { return c < ' ' && c != '\n'; })) << command;
  }
  EXPECT_EQ(run_carat({"help"}).out, run_carat({"--help"}).out);
  EXPECT_EQ(run_carat({}).out, run_carat({"--help"}).out);
  EXPECT_EQ(run_carat({"help", "run"}).out, run_carat({"run", "--help"}).out);
}

TEST(Usage, EveryNumberHasARangeThatItsHelpNames) {
  const struct {
    std::vector<std::string> arguments;
    std::string range;
  } cases[] = {{{"bench", "m", "--chunk", "0"}, "1 to 8192"},
               {{"bench", "m", "--chunk", "-1"}, "1 to 8192"},
               {{"bench", "m", "--chunk", "2147483647"}, "1 to 8192"},
               {{"run", "m", "--chunk", "99999999999999999999"}, "1 to 8192"},
               {{"run", "m", "--threads", "-1"}, "0 to 1024"},
               {{"eval", "m", "--threads", "1025"}, "0 to 1024"},
               {{"eval", "m", "--generate", "-1"}, "0 to 1048576"},
               {{"eval", "m", "--top", "-1"}, "0 to 1048576"},
               {{"perplexity", "m", "f", "--ctx", "3"}, "4 to 1048576"},
               {{"perplexity", "m", "f", "--chunks", "-1"}, "0 to 1048576"},
               {{"bench", "m", "-p", "8,-1"}, "0 to 1048576"},
               {{"bench", "m", "-d", "1048577"}, "0 to 1048576"},
               {{"bench", "m", "-n", "-5"}, "0 to 1048576"},
               {{"bench", "m", "-r", "0"}, "1 to 1000"},
               {{"run", "m", "--temperature", "-1"}, "0 to 100"},
               {{"run", "m", "--temperature", "nan"}, "0 to 100"},
               {{"run", "m", "--top-k", "-2"}, "-1 to 2147483647"},
               {{"run", "m", "--top-p", "1.5"}, "0 to 1"},
               {{"run", "m", "--min-p", "-0.5"}, "0 to 1"},
               {{"run", "m", "--typical-p", "2"}, "0 to 1"},
               {{"run", "m", "--repeat-penalty", "0"}, "0.01 to 100"},
               {{"run", "m", "--presence-penalty", "3"}, "-2 to 2"},
               {{"run", "m", "--frequency-penalty", "-3"}, "-2 to 2"},
               {{"run", "m", "--repeat-last-n", "-2"}, "-1 to 2147483647"},
               {{"run", "m", "--num-ctx", "-1"}, "0 to 1048576"},
               {{"run", "m", "--num-predict", "-3"}, "-2 to 2147483647"},
               {{"run", "m", "--min-tokens", "-1"}, "0 to 2147483647"}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.arguments[0] + " " + c.arguments.back() + " " + c.arguments[c.arguments.size() - 2]);
    const auto result = run_carat(c.arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_NE(result.err.find(c.range), std::string::npos) << result.err;
    std::string help = run_carat({c.arguments[0], "--help"}).out;
    std::replace(help.begin(), help.end(), '\n', ' ');
    EXPECT_NE(help.find("(" + c.range + ")"), std::string::npos) << c.range;
  }
}

TEST(Usage, AnErrorSaysWhatIsWrongFirstThenWhereHelpIs) {
  EXPECT_EQ(run_carat({"rum", "gemma3"}).err,
            "Error: unknown command 'rum': did you mean `run`? `carat --help` lists them\n");
  EXPECT_EQ(run_carat({"rum"}).exit_code, 2);
  EXPECT_EQ(run_carat({"frobnicate"}).err, "Error: unknown command 'frobnicate'; `carat --help` lists them\n");
  EXPECT_EQ(run_carat({"lits"}).err, "Error: unknown command 'lits': did you mean `list`? `carat --help` lists them\n");
  EXPECT_EQ(run_carat({"run"}).err, "Error: MODEL is required\n`carat run --help` says more.\n");
  EXPECT_EQ(run_carat({"show"}).exit_code, 2);
  EXPECT_EQ(run_carat({"run", "m", "--wibble", "x"}).exit_code, 2);
  EXPECT_TRUE(run_carat({"run", "m", "--wibble"}).err.starts_with("Error: "))
      << run_carat({"run", "m", "--wibble"}).err;
  EXPECT_EQ(run_carat({"help", "rum"}).err, "Error: unknown command 'rum'; `carat help` lists them\n");
  EXPECT_EQ(run_carat({"run", "m", "--precision", "half", "x"}).exit_code, 2);
  EXPECT_EQ(run_carat({"run", "m", "--head-type", "q3_k", "x"}).exit_code, 2);
}

class Prompts : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<test::TemporaryDirectory>();
    ASSERT_EQ(run_carat({"synth", "tiny", "--type", "q8_0", model()}).exit_code, 0);
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string model() { return (folder_->path() / "model.gguf").string(); }
  static std::string answer(std::vector<std::string> prompt, const std::string& input = {}) {
    std::vector<std::string> arguments{"run", model(), "--raw", "--temp", "0", "-n", "8", "--verbose"};
    arguments.insert(arguments.end(), prompt.begin(), prompt.end());
    const auto result = run_carat(arguments, {.input = input});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const size_t count = result.err.find("prompt eval count:");
    return result.out + result.err.substr(count, result.err.find('\n', count) - count);
  }

 private:
  static inline std::unique_ptr<test::TemporaryDirectory> folder_;
};

TEST_F(Prompts, ArriveAsTheyAre) {
  for (const char* prompt : {"[1,2,3]", R"(["a","b"])", "[INST] hi [/INST]", "{}", "%%", "[]", "[[a]]", "a,b", "\x02",
                             "]", "\"quoted\"", "'single'", "x\\ny", "list", "run"}) {
    EXPECT_EQ(answer({prompt}), answer({}, prompt)) << prompt;
  }
  EXPECT_EQ(answer({"--", "-x", "--temp"}), answer({}, "-x --temp"));
  EXPECT_EQ(answer({"[1,2]", "[3]"}), answer({}, "[1,2] [3]"));
}

TEST_F(Prompts, ThinkTakesNoWord) {
  EXPECT_EQ(answer({"--think", "hello", "you"}), answer({}, "hello you"));
  EXPECT_EQ(answer({"--think=high", "hello"}), answer({}, "hello"));
}

}  // namespace
}  // namespace carat
