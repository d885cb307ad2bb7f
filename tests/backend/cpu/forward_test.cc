// Whole forwards: against the naive reference, and against themselves whatever the chunks, threads, neighbours and ISA.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/random_model.h"
#include "base/checked.h"
#include "support/compare.h"
#include "support/text_step.h"

namespace carat {
namespace {

using test::random_model;
using test::RandomModel;

constexpr int32_t kRows = 48;  // the largest step

std::vector<int32_t> random_tokens(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 512);
  return tokens;
}

// One sequence's page tables; `first_page` keeps sequences apart.
struct Pages {
  std::vector<int32_t> global, local;
  Pages(const ModelConfig& config, int32_t tokens, int32_t first_page) {
    for (int32_t i = 0; i < div_ceil(tokens, kPageTokens); ++i) global.push_back(first_page + i);
    for (int32_t i = 0; i < div_ceil(config.window + kRows, kPageTokens) + 1; ++i) local.push_back(first_page + i);
  }
};

std::unique_ptr<Backend> open(const RandomModel& model, const std::string& name, int threads,
                              Precision precision = Precision::kExact) {
  BackendOptions options;
  options.name = name;
  options.threads = threads;
  options.precision = precision;
  auto backend = create_backend(options, model.config, model.weights);
  EXPECT_TRUE(backend.ok()) << backend.error().message;
  EXPECT_EQ((*backend)->info().name, name);  // the forced one is the one that runs
  EXPECT_TRUE((*backend)->reserve_kv({40, 40, kRows}).ok());
  return std::move(*backend);
}

// Logits of every row of a sequence fed in chunks.
std::vector<float> logits(Backend& backend, const ModelConfig& config, const std::vector<int32_t>& tokens,
                          const std::vector<int32_t>& chunks, int32_t first_page = 0) {
  const Pages pages(config, static_cast<int32_t>(tokens.size()), first_page);
  std::vector<float> out;
  int32_t past = 0;
  for (size_t i = 0; past < static_cast<int32_t>(tokens.size()); ++i) {
    const int32_t count = std::min(chunks[i % chunks.size()], static_cast<int32_t>(tokens.size()) - past);
    const SeqRows seq{0, count, past, pages.global, pages.local};
    std::vector<int32_t> rows(static_cast<size_t>(count));
    for (int32_t r = 0; r < count; ++r) rows[static_cast<size_t>(r)] = r;
    const auto part = std::span(tokens).subspan(static_cast<size_t>(past), static_cast<size_t>(count));
    const std::vector<float> chunk = test::TextStep(part, {&seq, 1}, rows).run(backend);
    out.insert(out.end(), chunk.begin(), chunk.end());
    past += count;
  }
  return out;
}

class ForwardTest : public testing::TestWithParam<DType> {};

std::string type_name(const testing::TestParamInfo<DType>& info) { return std::string(dtype_info(info.param).name); }

TEST_P(ForwardTest, AgreesWithTheReference) {
  const RandomModel model = random_model(GetParam(), 1);
  const auto tokens = random_tokens(130, 2);  // past the window of 100
  const auto cpu = open(model, "cpu/portable", 2);
  const auto reference = open(model, "reference", 1);
  const auto ours = logits(*cpu, model.config, tokens, {kRows});
  const auto exact = logits(*reference, model.config, tokens, {kRows});
  // Six layers of four products whose inputs carry 15 bits (an error of 2^-15 / sqrt(3) of a block's largest value,
  // about two and a half times its mean) and a KV cache of 11 (2^-12, in two of them): of order sqrt(6 * 4) * 2.5 *
  // 2^-15 / sqrt(3) plus sqrt(6 * 2) * 2^-12 / sqrt(3), times five for the worst of 66,560 values.
  EXPECT_TRUE(test::rows_within(ours, exact, 512, 4e-3));
}

TEST_P(ForwardTest, SameBitsForEveryIsaThreadCountAndChunking) {
  const RandomModel model = random_model(GetParam(), 3);
  const auto tokens = random_tokens(270, 4);  // more than one split of 256 keys
  const auto portable = open(model, "cpu/portable", 1);
  const auto expected = logits(*portable, model.config, tokens, {kRows});
  struct Run {
    int threads;
    std::vector<int32_t> chunks;
  };
  for (const std::string& name : backend_names()) {
    if (name == "reference") continue;
    for (const Run& run : {Run{1, {1}}, Run{1, {kRows}}, Run{2, {31, 2, 7}}, Run{3, {kRows}}}) {
      if (name == "cpu/portable" && run.threads != 2) continue;  // slow, and the same code as the others
      const auto backend = open(model, name, run.threads);
      EXPECT_TRUE(test::same_bits(logits(*backend, model.config, tokens, run.chunks), expected))
          << name << ", " << run.threads << " threads, chunks of " << run.chunks[0];
    }
  }
}

TEST_P(ForwardTest, ARowDoesNotDependOnItsNeighbours) {
  const RandomModel model = random_model(GetParam(), 5);
  const auto backend = open(model, backend_names().front(), 2);
  const auto a = random_tokens(130, 6);
  const auto b = random_tokens(111, 7);
  const auto alone_a = logits(*backend, model.config, a, {kRows});
  const auto alone_b = logits(*backend, model.config, b, {kRows}, 20);

  // Both in one batch of different chunks, pages interleaved.
  const Pages pages_a(model.config, 130, 10);
  const Pages pages_b(model.config, 111, 30);
  int32_t past_a = 0;
  int32_t past_b = 0;
  std::vector<float> together_a, together_b;
  while (past_a < 130 || past_b < 111) {
    const int32_t count_a = std::min(19, 130 - past_a);
    const int32_t count_b = std::min(past_b % 2 == 0 ? 13 : 1, 111 - past_b);
    std::vector<int32_t> tokens(a.begin() + past_a, a.begin() + past_a + count_a);
    tokens.insert(tokens.end(), b.begin() + past_b, b.begin() + past_b + count_b);
    std::vector<SeqRows> seqs;
    if (count_a > 0) seqs.push_back({0, count_a, past_a, pages_a.global, pages_a.local});
    if (count_b > 0) seqs.push_back({count_a, count_a + count_b, past_b, pages_b.global, pages_b.local});
    std::vector<int32_t> rows(tokens.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
    const std::vector<float> out = test::TextStep(tokens, seqs, rows).run(*backend);
    const auto split = out.begin() + count_a * model.config.vocabulary;
    together_a.insert(together_a.end(), out.begin(), split);
    together_b.insert(together_b.end(), split, out.end());
    past_a += count_a;
    past_b += count_b;
  }
  EXPECT_TRUE(test::same_bits(together_a, alone_a));
  EXPECT_TRUE(test::same_bits(together_b, alone_b));
}

TEST_P(ForwardTest, FastPrecisionIsCoarserButNotWrong) {
  const RandomModel model = random_model(GetParam(), 8);
  const auto tokens = random_tokens(60, 9);
  const auto fast = open(model, "cpu/portable", 1, Precision::kFast);
  const auto exact = open(model, "cpu/portable", 1);
  const auto coarse = logits(*fast, model.config, tokens, {kRows});
  const auto fine = logits(*exact, model.config, tokens, {kRows});
  // As above with 7 bits instead of 14 and the largest of 32 values, about two and a half times their mean.
  EXPECT_TRUE(test::rows_within(coarse, fine, 512, 0.4));
  EXPECT_EQ(test::rows_within(coarse, fine, 512, 1e-4), !is_quantised(GetParam()));
}

// Every kind of packing; kernels_test.cc has every type.
INSTANTIATE_TEST_SUITE_P(Types, ForwardTest,
                         testing::Values(DType::kF32, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0,
                                         DType::kQ4_K, DType::kQ6_K, DType::kIQ4_XS),
                         type_name);

TEST(Backends, AnUnknownNameListsWhatThereIs) {
  const RandomModel model = random_model(DType::kQ8_0, 1);
  for (const char* name : {"gpu", "cpu/", "cpu/avx9000", ""}) {
    const auto backend = create_backend({name, 1, Precision::kExact}, model.config, model.weights);
    ASSERT_FALSE(backend.ok());
    EXPECT_EQ(backend.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(backend.error().message.find("cpu/portable"), std::string::npos);
    EXPECT_NE(backend.error().message.find("reference"), std::string::npos);
  }
}

TEST(Backends, StageTimesNameTheBytesThatWereRead) {
  const RandomModel model = random_model(DType::kQ8_0, 1);
  const auto backend = open(model, "cpu/portable", 1);
  logits(*backend, model.config, random_tokens(1, 1), {1});
  uint64_t bytes = 0;
  for (const StageTime& stage : backend->stage_times()) bytes += stage.weight_bytes;
  EXPECT_LE(bytes, backend->info().decode_bytes);
  EXPECT_GE(bytes + 64 * 50, backend->info().decode_bytes);  // all but the padding between matrices
}

}  // namespace
}  // namespace carat
