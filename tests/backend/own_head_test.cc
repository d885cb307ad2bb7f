// --head-type: a head in another type is that table quantised, and what is said of its divergence is what the logits say.
#include "backend/own_head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "backend/cpu/random_model.h"
#include "formats/dequant.h"
#include "formats/quantize.h"
#include "support/text_step.h"

namespace carat {
namespace {

using test::random_model;
using test::RandomModel;

constexpr int32_t kTokens = 32;  // of the text that own_head.cc measures with, in a vocabulary of 512
constexpr int32_t kIds[kTokens] = {
    818 % 512,   2255 % 512,  63937 % 512,  64222 % 512, 54264 % 512,  506,         12019 % 512,  31393 % 512,
    1418 % 512,  9137 % 512,  236764 % 512, 10035 % 512, 506,          15123 % 512, 236764 % 512, 532 % 512,
    19061 % 512, 506,         19916 % 512,  1786 % 512,  236761 % 512, 799 % 512,   7208 % 512,   236764 % 512,
    1056 % 512,  48312 % 512, 3588 % 512,   699 % 512,   506,          8339 % 512,  236764 % 512, 668 % 512};

std::unique_ptr<Backend> backend_of(const BackendOptions& options, const RandomModel& model, const Weights& weights) {
  auto made = create_backend(options, model.config, weights);
  EXPECT_TRUE(made.ok()) << made.error().message;
  return made.ok() ? std::move(*made) : nullptr;
}

// Logits of the text's second half, [16][V].
std::vector<float> logits_of(Backend& backend) {
  EXPECT_TRUE(backend.reserve_kv({1, 1, kTokens, 1}).ok());
  const int32_t page = 0;
  const SeqRows seq{0, kTokens, 0, {&page, 1}, {&page, 1}};
  std::vector<int32_t> rows(kTokens / 2);
  std::iota(rows.begin(), rows.end(), kTokens / 2);
  return test::TextStep(kIds, {&seq, 1}, rows).run(backend);
}

double mean_divergence(const std::vector<float>& p, const std::vector<float>& q, size_t vocabulary) {
  double total = 0;
  for (size_t row = 0; row < p.size(); row += vocabulary) {
    double sum_p = 0, sum_q = 0, difference = 0;
    for (size_t i = row; i < row + vocabulary; ++i) {
      const auto a = static_cast<double>(p[i]);
      const auto b = static_cast<double>(q[i]);
      sum_p += std::exp(a);
      sum_q += std::exp(b);
      difference += std::exp(a) * (a - b);
    }
    total += difference / sum_p - std::log(sum_p) + std::log(sum_q);
  }
  return total / static_cast<double>(p.size() / vocabulary);
}

double said_divergence(const Backend& backend) {
  const std::string note = backend.info().note;
  const size_t at = note.find("divergence ");
  EXPECT_NE(at, std::string::npos) << note;
  return at == std::string::npos ? NAN : std::strtod(note.c_str() + at + 11, nullptr);
}

TEST(OwnHead, IsTheTableQuantised) {
  const RandomModel model = random_model(DType::kBF16, 5);
  const TensorView& table = model.weights.embedding;
  std::vector<float> floats(static_cast<size_t>(table.elements()));
  dequantize(table.type, table.data.data(), floats.data(), table.elements());
  for (const std::string name : {"cpu", "reference"}) {
    std::vector<float> before;
    {
      const auto as_it_is = backend_of({name, 1}, model, model.weights);
      EXPECT_EQ(as_it_is->info().note, "");
      before = logits_of(*as_it_is);
    }
    for (const DType type : {DType::kQ4_0, DType::kQ6_K, DType::kQ8_0}) {
      std::vector<std::byte> bytes(*dtype_bytes(type, floats.size()));
      quantize(type, floats.data(), bytes.data(), table.elements());
      Weights by_hand = model.weights;
      by_hand.head = {"head", type, table.rows, table.columns, bytes};
      const auto expected = logits_of(*backend_of({name, 1}, model, by_hand));
      const auto own = backend_of({name, 2, Precision::kExact, type}, model, model.weights);
      const auto logits = logits_of(*own);
      EXPECT_EQ(logits, expected) << name << " " << dtype_info(type).name;
      // Two digits are said, and activations of 15 bits are in the logits.
      const double divergence = mean_divergence(before, logits, 512);
      EXPECT_GT(divergence, 0);
      EXPECT_NEAR(said_divergence(*own) / divergence, 1, 0.1) << name << " " << dtype_info(type).name;
    }
  }
}

TEST(OwnHead, TakesWholeBlocksOnly) {
  RandomModel model = random_model(DType::kBF16, 6);
  model.weights.embedding.columns = 1152;
  EXPECT_TRUE(with_head_type(model.config, model.weights, DType::kQ5_0).ok());
  const auto none = with_head_type(model.config, model.weights, DType::kQ6_K);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, ErrorCode::kUnsupported);
}

TEST(OwnHead, NumbersThatNoTypeHoldsAreNamed) {
  const RandomModel model = random_model(DType::kBF16, 7);
  auto* weight = const_cast<std::byte*>(model.weights.embedding.row(19));
  weight[6] = std::byte{0x80};  // infinity
  weight[7] = std::byte{0x7f};
  const auto made = create_backend({"cpu", 2, Precision::kExact, DType::kQ4_0}, model.config, model.weights);
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.error().message.find("row 19"), std::string::npos) << made.error().message;
}

}  // namespace
}  // namespace carat
