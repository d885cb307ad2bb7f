// What fits into a budget, and in which order things are given up.
#include "chat/memory_plan.h"

#include <gtest/gtest.h>

namespace carat::chat {
namespace {

constexpr uint64_t kMega = 1'000'000;

ModelConfig config() {
  ModelConfig config;
  config.context_length = 32768;
  config.window = 512;
  return config;
}

MemoryNeed need() {
  MemoryNeed need;
  need.weights = 500 * kMega;
  need.global_page = kMega / 4;
  need.local_page = kMega;
  need.activations = 20 * kMega;
  need.logits_row = 2 * kMega;
  return need;
}

EngineOptions wanted() { return {.context = 8192, .max_rows = 256, .max_sequences = 4, .max_logits_rows = 4}; }

Result<MemoryPlan> plan(uint64_t megabytes, int32_t least = 512) {
  return plan_memory(need(), config(), wanted(), least, {megabytes * kMega, "--memory"});
}

TEST(StepRows, AreManyForASequenceAloneWhereMemoryIsPlenty) {
  const Concurrency usual{.sequences = 256, .rows = 2048, .alone_rows = 8192};
  const auto rows_of = [&](int32_t asked, uint64_t megabytes) {
    return plan_rows(usual, asked, {megabytes * kMega, "--memory"},
                     [](int32_t rows) -> Result<MemoryNeed> {
                       MemoryNeed of_rows = need();
                       of_rows.activations = static_cast<uint64_t>(rows) * kMega / 8;
                       return of_rows;
                     })
        .value();
  };
  EXPECT_EQ(rows_of(0, 4596).most, 8192);
  EXPECT_EQ(rows_of(0, 4596).beside, 2048);
  EXPECT_EQ(rows_of(0, 4596).need.activations, 1024 * kMega);
  EXPECT_EQ(rows_of(0, 4595).most, 2048);
  EXPECT_EQ(rows_of(0, 4595).need.activations, 256 * kMega);
  EXPECT_EQ(rows_of(77, 10000).most, 77);
  EXPECT_EQ(rows_of(77, 10000).beside, 77);
  EXPECT_EQ(plan_rows({}, 0, {kMega, "--memory"}, [](int32_t) { return Result<MemoryNeed>(need()); })->most, 256);
}

TEST(MemoryPlan, WithRoomForAllNothingIsGivenUp) {
  const MemoryPlan all = plan(10000).value();
  EXPECT_TRUE(all.given_up.empty());
  EXPECT_EQ(all.engine.context, 8192);
  EXPECT_EQ(all.engine.max_sequences, 4);
  const KvPlan pages = Engine::plan(config(), all.engine);
  EXPECT_EQ(all.kv_cache,
            static_cast<uint64_t>(pages.global_pages) * kMega / 4 + static_cast<uint64_t>(pages.local_pages) * kMega);
  EXPECT_EQ(all.total(), all.weights + all.kv_cache + all.activations + all.logits + all.program);
}

TEST(MemoryPlan, TheCacheGoesFirstThenSequencesThenTheContext) {
  const uint64_t all = plan(10000)->total() / kMega;
  const MemoryPlan less_cache = plan(all - 10).value();
  EXPECT_EQ(less_cache.given_up.size(), 1u);
  EXPECT_EQ(less_cache.engine.max_sequences, 4);
  EXPECT_LT(less_cache.engine.cache_pages, plan(10000)->engine.cache_pages);

  const MemoryPlan fewer = plan(700).value();
  EXPECT_EQ(fewer.engine.context, 8192);
  EXPECT_LT(fewer.engine.max_sequences, 4);
  EXPECT_EQ(fewer.engine.cache_pages, 1);

  const MemoryPlan shorter = plan(620).value();
  EXPECT_EQ(shorter.engine.max_sequences, 1);
  EXPECT_LT(shorter.engine.context, 8192);
  EXPECT_GE(shorter.engine.context, 512);
  EXPECT_EQ(shorter.given_up.size(), 4u);
  for (const uint64_t megabytes : {all - 10, uint64_t{700}, uint64_t{620}}) {
    EXPECT_LE(plan(megabytes)->total(), megabytes * kMega);
  }
}

TEST(MemoryPlan, OneContextThatSequencesShareIsShortenedBeforeTheyAreFewer) {
  EngineOptions shared = wanted();
  shared.context = 32768;
  shared.whole_contexts = 1;
  const auto plan = [&](uint64_t megabytes) {
    return plan_memory(need(), config(), shared, 512, {megabytes * kMega, "--memory"}).value().engine;
  };
  EXPECT_EQ(plan(10000).global_pages, 512 + plan(10000).cache_pages);
  EXPECT_EQ(plan(720).context, 16384);
  EXPECT_EQ(plan(720).max_sequences, 4);
  EXPECT_EQ(plan(640).context, 8192);
  EXPECT_LT(plan(640).max_sequences, 4);
}

TEST(MemoryPlan, OfVeryManySequencesMostGoBeforeTheContext) {
  EngineOptions many = wanted();
  many.context = 32768;
  many.max_rows = 2048;
  many.max_sequences = 256;
  many.whole_contexts = 8;
  const auto plan = [&](uint64_t megabytes) {
    return plan_memory(need(), config(), many, 512, {megabytes * kMega, "--memory"}).value().engine;
  };
  EXPECT_EQ(plan(100000).max_sequences, 256);
  EXPECT_EQ(plan(100000).whole_contexts, 8);
  const uint64_t no_cache = 580 + 256 * 12 + 64 + 8 * 128;  // program, weights, activations; windows, logits; contexts
  EXPECT_EQ(plan(no_cache - 10).max_sequences, 256);
  EXPECT_LT(plan(no_cache - 10).whole_contexts, 8);
  EXPECT_EQ(plan(1000).max_sequences, 16);
  EXPECT_EQ(plan(1000).whole_contexts, 1);
  EXPECT_EQ(plan(1000).context, 32768);
  EXPECT_EQ(plan(850).max_sequences, 8);
  EXPECT_LT(plan(850).context, 32768);
  EXPECT_GE(plan(850).context, 8192);
}

TEST(MemoryPlan, TooLittleSaysWhatWasAskedWhatThereIsAndWhatWouldFit) {
  const auto context = plan(620, 8192);
  ASSERT_FALSE(context.ok());
  EXPECT_EQ(context.error().code, ErrorCode::kOutOfMemory);
  for (const char* part : {"8192 tokens", "weights 500 MB", "--memory has 620 MB", "a context of 4096 would fit"}) {
    EXPECT_NE(context.error().message.find(part), std::string::npos) << part << ": " << context.error().message;
  }
  const auto weights = plan(300);
  ASSERT_FALSE(weights.ok());
  EXPECT_NE(weights.error().message.find("a smaller model"), std::string::npos) << weights.error().message;
}

TEST(MemoryPlan, AmountsAsPeopleWriteThem) {
  EXPECT_EQ(parse_bytes("2G").value(), uint64_t{2} << 30);
  EXPECT_EQ(parse_bytes("1.5GiB").value(), uint64_t{3} << 29);
  EXPECT_EQ(parse_bytes("500MB").value(), 500 * kMega);
  EXPECT_EQ(parse_bytes("512m").value(), uint64_t{512} << 20);
  EXPECT_EQ(parse_bytes("1000000").value(), kMega);
  for (const char* wrong : {"", "G", "-1G", "0", "2X", "2GG", "1e9", "nan", "inf", "2 G", "99999999999999T", "0x10"}) {
    EXPECT_FALSE(parse_bytes(wrong).ok()) << wrong;
  }
}

}  // namespace
}  // namespace carat::chat
