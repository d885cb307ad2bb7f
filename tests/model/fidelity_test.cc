// How far the next-token distributions of the real 270M are from those of exact arithmetic (tests/golden/270m), on 961
// multilingual tokens: what README.md and bench/fidelity.py print, asserted at 64 positions.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <numeric>

#include "base/json.h"
#include "model/fixture.h"
#include "model/reference_ops.h"
#include "support/real_model.h"
#include "support/text_step.h"

namespace carat::test {
namespace {

constexpr int32_t kChunk = 256;
constexpr int32_t kEvery = 15;  // hidden.bin holds positions 14, 29, ...
constexpr size_t kPositions = 64;

// KL divergence of two distributions, given as logits.
double divergence(std::span<const float> exact, std::span<const float> actual) {
  const auto log_sum = [](std::span<const float> logits) {
    const double largest = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit - largest);
    return largest + std::log(sum);
  };
  const double exact_total = log_sum(exact);
  const double actual_total = log_sum(actual);
  double sum = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double log_p = exact[i] - exact_total;
    sum += std::exp(log_p) * (log_p - (actual[i] - actual_total));
  }
  return sum;
}

double mean_divergence(const ModelFile& model, const BackendOptions& options, std::span<const int32_t> ids,
                       std::span<const float> exact) {
  const auto backend = create_backend(options, model.config, model.weights);
  EXPECT_TRUE(backend.ok()) << backend.error().message;
  const auto vocabulary = static_cast<size_t>(model.config.vocabulary);
  std::vector<int32_t> pages(ids.size() / kPageTokens + 1);
  std::iota(pages.begin(), pages.end(), 0);
  const auto count = static_cast<int32_t>(pages.size());
  EXPECT_TRUE((*backend)->reserve_kv({.global_pages = count, .local_pages = count, .max_rows = kChunk}).ok());
  double sum = 0;
  size_t position = 0;
  for (int32_t past = 0; position < kPositions; past += kChunk) {
    const int32_t rows = std::min(kChunk, static_cast<int32_t>(ids.size()) - past);
    std::vector<int32_t> wanted;
    for (int32_t row = 0; row < rows; ++row) {
      if ((past + row) % kEvery == kEvery - 1) wanted.push_back(row);
    }
    const SeqRows seq{0, rows, past, pages, pages};
    const std::vector<float> logits =
        TextStep(ids.subspan(static_cast<size_t>(past), static_cast<size_t>(rows)), {&seq, 1}, wanted).run(**backend);
    for (size_t i = 0; i < wanted.size() && position < kPositions; ++i, ++position) {
      sum += divergence(exact.subspan(position * vocabulary, vocabulary),
                        std::span(logits).subspan(i * vocabulary, vocabulary));
    }
  }
  return sum / kPositions;
}

TEST(Fidelity, MeanDivergenceIsWhatIsPromised) {
  const auto path = real_model();
  if (!path) GTEST_SKIP() << "no real model: carat pull gemma3:270m-pt";
  const Result<ModelFile> model = ModelFile::open(*path);
  ASSERT_TRUE(model.ok()) << model.error().message;
  std::vector<float> hidden(kPositions * static_cast<size_t>(model->config.width));
  std::ifstream file(golden("270m/hidden.bin"), std::ios::binary);
  ASSERT_TRUE(
      file.read(reinterpret_cast<char*>(hidden.data()), static_cast<std::streamsize>(hidden.size() * sizeof(float))));
  std::vector<float> exact(kPositions * static_cast<size_t>(model->config.vocabulary));
  matmul_ref(model->weights.embedding, model->config.vocabulary, hidden, exact);
  std::ifstream text(golden("270m/multilingual.jsonl"));
  const auto ids = nlohmann::json::parse(text).at("ids").get<std::vector<int32_t>>();
  ASSERT_EQ(ids.size(), 961u);

  const double mean = mean_divergence(*model, {}, ids, exact);
  std::cout << "mean KL divergence " << mean << '\n';
  EXPECT_GT(mean, 1e-9);  // something was compared
  EXPECT_LT(mean, 2e-6);
}

}  // namespace
}  // namespace carat::test
