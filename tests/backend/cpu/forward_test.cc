// Whole forwards: against the naive reference, and against themselves whatever the chunks, threads, neighbours and ISA.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/random_forward.h"
#include "support/compare.h"

namespace carat {
namespace {

using test::open_random;
using test::Pages;
using test::random_model;
using test::random_tokens;
using test::RandomModel;

constexpr int32_t kRows = test::kStepRows;

class ForwardTest : public testing::TestWithParam<DType> {};

std::string type_name(const testing::TestParamInfo<DType>& info) { return std::string(dtype_info(info.param).name); }

TEST_P(ForwardTest, AgreesWithTheReference) {
  const RandomModel model = random_model(GetParam(), 1);
  const auto tokens = random_tokens(130, 2);  // past the window of 100
  const auto cpu = open_random(model, "cpu/portable", 2);
  const auto reference = open_random(model, "reference", 1);
  const auto ours = test::chunked_logits(*cpu, model.config, tokens, {kRows});
  const auto exact = test::chunked_logits(*reference, model.config, tokens, {kRows});
  // Six layers of four products whose inputs carry 15 bits (an error of 2^-15 / sqrt(3) of a block's largest value,
  // about two and a half times its mean) and a KV cache of 11 (2^-12, in two of them): of order sqrt(6 * 4) * 2.5 *
  // 2^-15 / sqrt(3) plus sqrt(6 * 2) * 2^-12 / sqrt(3), times five for the worst of 66,560 values.
  EXPECT_TRUE(test::rows_within(ours, exact, 512, 4e-3));
}

TEST_P(ForwardTest, SameBitsForEveryIsaThreadCountAndChunking) {
  const RandomModel model = random_model(GetParam(), 3);
  const auto tokens = random_tokens(270, 4);  // more than one split of 256 keys
  const auto portable = open_random(model, "cpu/portable", 1);
  const auto expected = test::chunked_logits(*portable, model.config, tokens, {kRows});
  struct Run {
    int threads;
    std::vector<int32_t> chunks;
  };
  for (const std::string& name : backend_names()) {
    if (name == "reference") continue;
    for (const Run& run : {Run{1, {1}}, Run{1, {kRows}}, Run{2, {31, 2, 7}}, Run{3, {kRows}}}) {
      if (name == "cpu/portable" && run.threads != 2) continue;  // slow, and the same code as the others
      const auto backend = open_random(model, name, run.threads);
      EXPECT_TRUE(test::same_bits(test::chunked_logits(*backend, model.config, tokens, run.chunks), expected))
          << name << ", " << run.threads << " threads, chunks of " << run.chunks[0];
    }
  }
}

TEST_P(ForwardTest, ARowDoesNotDependOnItsNeighbours) {
  const RandomModel model = random_model(GetParam(), 5);
  const auto backend = open_random(model, backend_names().front(), 2);
  const auto a = random_tokens(130, 6);
  const auto b = random_tokens(111, 7);
  const auto alone_a = test::chunked_logits(*backend, model.config, a, {kRows});
  const auto alone_b = test::chunked_logits(*backend, model.config, b, {kRows}, 20);

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

// Every kind of packing; kernels_test.cc has every type.
INSTANTIATE_TEST_SUITE_P(Types, ForwardTest,
                         testing::Values(DType::kF32, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0,
                                         DType::kQ4_K, DType::kQ6_K, DType::kIQ4_XS),
                         type_name);

TEST(Backends, AnUnknownNameListsWhatThereIs) {
  const RandomModel model = random_model(DType::kQ8_0, 1);
  for (const char* name : {"gpu", "cpu/", "cpu/avx9000", ""}) {
    const auto backend = create_backend({name, 1}, model.config, model.weights);
    ASSERT_FALSE(backend.ok());
    EXPECT_EQ(backend.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(backend.error().message.find("cpu/portable"), std::string::npos);
    EXPECT_NE(backend.error().message.find("reference"), std::string::npos);
  }
}

TEST(Backends, TheCpuComputesExactlyOnly) {
  const RandomModel model = random_model(DType::kQ8_0, 1);
  const auto backend = create_backend({"cpu", 1, Precision::kFast}, model.config, model.weights);
  ASSERT_FALSE(backend.ok());
  EXPECT_EQ(backend.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(backend.error().message, "the CPU computes exactly only: --precision fast is for devices");
}

TEST(Backends, StageTimesNameTheBytesThatWereRead) {
  const RandomModel model = random_model(DType::kQ8_0, 1);
  const auto backend = open_random(model, "cpu/portable", 1);
  test::chunked_logits(*backend, model.config, random_tokens(1, 1), {1});
  uint64_t bytes = 0;
  for (const StageTime& stage : backend->stage_times()) bytes += stage.weight_bytes;
  EXPECT_LE(bytes, backend->info().decode_bytes);
  EXPECT_GE(bytes + 64 * 50, backend->info().decode_bytes);  // all but the padding between matrices
}

}  // namespace
}  // namespace carat
