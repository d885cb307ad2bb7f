#include "cli/verbose_stats.h"

#include <gtest/gtest.h>

namespace carat::cli {
namespace {

TEST(GoDuration, PrintsAsGoDoes) {
  EXPECT_EQ(go_duration(0), "0s");
  EXPECT_EQ(go_duration(1), "1ns");
  EXPECT_EQ(go_duration(999), "999ns");
  EXPECT_EQ(go_duration(1100), "1.1µs");
  EXPECT_EQ(go_duration(79448045), "79.448045ms");
  EXPECT_EQ(go_duration(570311890), "570.31189ms");
  EXPECT_EQ(go_duration(848402707), "848.402707ms");
  EXPECT_EQ(go_duration(1000000000), "1s");
  EXPECT_EQ(go_duration(1500000000), "1.5s");
  EXPECT_EQ(go_duration(62500000000), "1m2.5s");
  EXPECT_EQ(go_duration(60000000000), "1m0s");
  EXPECT_EQ(go_duration(7384000000001), "2h3m4.000000001s");
  EXPECT_EQ(go_duration(-1500000), "-1.5ms");
}

TEST(VerboseStats, IsWhatOllamaPrinted) {
  VerboseStats stats;
  stats.total_seconds = 0.848402707;
  stats.load_seconds = 0.133782349;
  stats.usage = {
      .prompt_tokens = 13, .generated_tokens = 2, .prompt_seconds = 0.57031189, .generate_seconds = 0.079448045};
  EXPECT_EQ(format_verbose(stats),
            "total duration:       848.402707ms\n"
            "load duration:        133.782349ms\n"
            "prompt eval count:    13 token(s)\n"
            "prompt eval duration: 570.31189ms\n"
            "prompt eval rate:     22.79 tokens/s\n"
            "eval count:           2 token(s)\n"
            "eval duration:        79.448045ms\n"
            "eval rate:            25.17 tokens/s\n");
}

TEST(VerboseStats, CountsOnlyWhatWasComputed) {
  VerboseStats stats;
  stats.usage = {.prompt_tokens = 100, .reused_tokens = 88, .prompt_seconds = 0.5};
  EXPECT_EQ(format_verbose(stats),
            "prompt eval count:    12 token(s)\n"
            "prompt eval duration: 500ms\n"
            "prompt eval rate:     24.00 tokens/s\n");
}

}  // namespace
}  // namespace carat::cli
