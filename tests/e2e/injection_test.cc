// The N-th allocation, thread start and write of a short run, eval and pull fails, for every N: each time it ends with an
// error of one line or, where it could do without, with the right answer; never with a signal, and nothing is lost.
// CARAT_INJECT_STEP takes every so-manieth N only.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "model/fixture.h"
#include "support/paths.h"
#include "support/process.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

class Injection : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(test::run_carat({"synth", "tiny", "--type", "q8_0", path("model.gguf")}).exit_code, 0);
    folder_.write("lines.jsonl", "{\"ids\": [2, 5, 6]}\n{\"text\": \"some text\"}\n");
  }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

  test::ProcessResult carat(const std::vector<std::string>& arguments, const std::string& fail) const {
    test::ProcessOptions options;
    options.environment = {{"CARAT_HOME", path("home")}};
    if (!fail.empty()) {
      options.environment.insert(
          options.environment.end(),
          {{"LD_PRELOAD", CARAT_FAIL_NTH}, {"CARAT_FAIL", fail}, {"CARAT_FAIL_COUNT", path("count")}});
    }
    return test::run_carat(arguments, options);
  }

  // Of allocations, thread starts and writes.
  std::array<long, 3> counts(const std::vector<std::string>& arguments) const {
    EXPECT_EQ(carat(arguments, "none").exit_code, 0);
    std::array<long, 3> counts{};
    std::ifstream file(path("count"));
    file >> counts[0] >> counts[1] >> counts[2];
    return counts;
  }

  // `after` looks whether everything is as it was.
  template <class After>
  void fail_each(const std::vector<std::string>& arguments, const std::string& kind, long count, const After& after) {
    ASSERT_GT(count, 0) << kind << ": the library was not loaded";
    const test::ProcessResult right = carat(arguments, "");
    const char* asked = std::getenv("CARAT_INJECT_STEP");
    const long step = asked == nullptr ? 1 : std::max(1L, std::atol(asked));
    long failed = 0;
    for (long n = 1; n <= count; n += n < 40 ? 1 : step) {
      const auto result = carat(arguments, kind + std::to_string(n));
      const bool is_error = result.exit_code == 1 && result.err.find("Error: ") != std::string::npos;
      const bool is_right = result.exit_code == 0 && result.out == right.out;
      failed += is_error ? 1 : 0;
      EXPECT_TRUE(is_error || is_right) << arguments[0] << " " << kind << n << ": " << result.exit_code << "\n"
                                        << result.out << result.err;
      if (is_error) {
        EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n') - notes(result.err), 1) << result.err;
      }
      after(n);
      if (HasFailure()) return;
    }
    EXPECT_GT(failed, 0) << kind << ": nothing ever failed";
  }

  // What is said of a pull's progress comes before.
  static long notes(const std::string& err) {
    return std::count(err.begin(), err.begin() + static_cast<std::ptrdiff_t>(err.find("Error: ")), '\n');
  }

  test::TemporaryDirectory folder_;
};

TEST_F(Injection, Run) {
  const std::vector<std::string> arguments{"run", path("model.gguf"), "--temp", "0",    "-n",
                                           "2",   "--threads",        "3",      "hello"};
  const auto [allocations, threads, writes] = counts(arguments);
  fail_each(arguments, "thread:", threads, [](long) {});
  fail_each(arguments, "alloc:", allocations, [](long) {});
}

TEST_F(Injection, Eval) {
  const std::vector<std::string> arguments{
      "eval", path("model.gguf"), path("lines.jsonl"), "--generate", "2", "--threads",
      "3",    "--logits",         path("logits.npy")};
  const auto [allocations, threads, writes] = counts(arguments);
  fail_each(arguments, "thread:", threads, [](long) {});
  const auto nothing_half = [&](long n) {
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      EXPECT_FALSE(entry.path().filename().string().starts_with(".tmp-")) << n;
    }
  };
  fail_each(arguments, "write:", writes, nothing_half);
  fail_each(arguments, "alloc:", allocations, nothing_half);
}

TEST_F(Injection, Pull) {
  ASSERT_EQ(carat({"pull", path("model.gguf"), "--name", "kept"}, "").exit_code, 0);
  const auto blobs = [&] {
    return std::distance(fs::directory_iterator(folder_.path() / "home" / "blobs"), fs::directory_iterator());
  };
  const auto of_one_model = blobs();
  const std::vector<std::string> arguments{"pull", path("model.gguf"), "--name", "new"};
  const auto [allocations, threads, writes] = counts(arguments);
  // Whatever happened, what was in the store is there and runs, and the same pull again succeeds.
  const auto nothing_lost = [&](long n) {
    if (n % 50 != 1) return;
    EXPECT_NE(carat({"list"}, "").out.find("kept:latest"), std::string::npos) << n;
    EXPECT_EQ(carat({"run", "kept", "-n", "1", "hello"}, "").exit_code, 0) << n;
    EXPECT_EQ(carat(arguments, "").exit_code, 0) << n;
    EXPECT_EQ(carat({"rm", "new"}, "").exit_code, 0) << n;
  };
  fail_each(arguments, "write:", writes, nothing_lost);
  fail_each(arguments, "alloc:", allocations, nothing_lost);
  EXPECT_EQ(carat({"rm", "--unused"}, "").exit_code, 0);
  EXPECT_EQ(blobs(), of_one_model) << "one model, and nothing that nobody uses";
}

}  // namespace
}  // namespace carat
