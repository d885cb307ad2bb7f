// Every backend against exact float32 arithmetic on the real 270M (tests/golden/270m): the golden text is fed back, so
// one wrong token cannot hide the next, and at each of its positions the greedy id and the 20 best log-probabilities
// are compared.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <numeric>

#include "backend/backend.h"
#include "model/fixture.h"
#include "support/real_model.h"
#include "support/text_step.h"

namespace carat::test {
namespace {

constexpr int32_t kChunk = 256;  // rows a step

// log(sum(exp(logits)))
double log_sum(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

struct Deviation {
  size_t positions = 0;
  double worst = 0;    // of a log-probability among the top 20
  double squares = 0;  // sum over all of them
  size_t values = 0;
  std::vector<std::string> other_ids;  // "german[11]: 5 instead of 7"
};

// The logits at one position against the golden line.
void compare(const GoldenPrompt& prompt, size_t position, std::span<const float> logits, Deviation& deviation) {
  const auto best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  if (best != prompt.greedy[position] && position < prompt.decided()) {
    deviation.other_ids.push_back(prompt.name + "[" + std::to_string(position) + "]: " + std::to_string(best) +
                                  " instead of " + std::to_string(prompt.greedy[position]));
  }
  const double total = log_sum(logits);
  for (size_t k = 0; k < prompt.top_ids[position].size(); ++k) {
    const double logprob = logits[static_cast<size_t>(prompt.top_ids[position][k])] - total;
    const double error = std::abs(logprob - double{prompt.top_logprobs[position][k]});
    if (!(error <= deviation.worst)) deviation.worst = error;  // NaN sticks
    deviation.squares += error * error;
    ++deviation.values;
  }
  ++deviation.positions;
}

// Feeds the prompt and the first `positions` golden ids in chunks; compares the logits at the `positions` positions
// from the prompt's last token on.
void run_prompt(Backend& backend, const ModelConfig& config, const GoldenPrompt& prompt, size_t positions,
                Deviation& deviation) {
  std::vector<int32_t> tokens = prompt.ids;
  tokens.insert(tokens.end(), prompt.greedy.begin(),
                prompt.greedy.begin() + static_cast<std::ptrdiff_t>(positions) - 1);
  const auto total = static_cast<int32_t>(tokens.size());
  const auto first_wanted = static_cast<int32_t>(prompt.ids.size()) - 1;
  const auto vocabulary = static_cast<size_t>(config.vocabulary);

  std::vector<int32_t> global_pages(static_cast<size_t>((total + kPageTokens - 1) / kPageTokens));
  std::vector<int32_t> ring(static_cast<size_t>((config.window + kChunk + kPageTokens - 1) / kPageTokens + 1));
  std::iota(global_pages.begin(), global_pages.end(), 0);
  std::iota(ring.begin(), ring.end(), 0);
  ASSERT_TRUE(backend
                  .reserve_kv({.global_pages = static_cast<int32_t>(global_pages.size()),
                               .local_pages = static_cast<int32_t>(ring.size()),
                               .max_rows = kChunk})
                  .ok());
  for (int32_t past = 0; past < total; past += kChunk) {
    const int32_t rows = std::min(kChunk, total - past);
    std::vector<int32_t> wanted;
    for (int32_t row = std::max(0, first_wanted - past); row < rows; ++row) wanted.push_back(row);
    const std::vector<SeqRows> seqs{{0, rows, past, global_pages, ring}};
    const std::vector<float> logits =
        test::TextStep(std::span(tokens).subspan(static_cast<size_t>(past), static_cast<size_t>(rows)), seqs, wanted)
            .run(backend);
    ASSERT_EQ(logits.size(), wanted.size() * vocabulary);
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto position = static_cast<size_t>(past + wanted[i] - first_wanted);
      compare(prompt, position, std::span(logits).subspan(i * vocabulary, vocabulary), deviation);
    }
  }
}

// Runs up to `positions` positions of every prompt of at most `longest` tokens.
Deviation run_backend(const BackendOptions& options, size_t longest, size_t positions) {
  Deviation deviation;
  const auto path = real_model();
  if (!path) return deviation;
  const Result<ModelFile> model = ModelFile::open(*path);
  if (!model.ok()) {
    ADD_FAILURE() << model.error().message;
    return deviation;
  }
  const auto backend = create_backend(options, model->config, model->weights);
  if (!backend.ok()) {
    ADD_FAILURE() << backend.error().message;
    return deviation;
  }
  for (const GoldenPrompt& prompt : golden_prompts()) {
    if (prompt.ids.size() <= longest) run_prompt(**backend, model->config, prompt, positions, deviation);
  }
  std::cout << (*backend)->info().name << ": " << deviation.positions << " positions, log-probabilities off by "
            << std::sqrt(deviation.squares / static_cast<double>(deviation.values)) << " rms, " << deviation.worst
            << " at most\n";
  return deviation;
}

// Two float32 computations may differ by this much in a logit before a margin above the tie's 1e-3 can turn.
constexpr double kHalfATie = 5e-4;

TEST(Golden, TheReferenceIsExact) {
  if (!real_model()) GTEST_SKIP() << "no real model: carat pull gemma3:270m-pt";
  const Deviation deviation = run_backend({.name = "reference"}, 7, 8);  // about a second a position
  EXPECT_GT(deviation.positions, 0u);
  EXPECT_TRUE(deviation.other_ids.empty()) << deviation.other_ids.front();
  EXPECT_LE(deviation.worst, kHalfATie);
}

TEST(Golden, TheCpuBackendGivesEveryGreedyId) {
  if (!real_model()) GTEST_SKIP() << "no real model: carat pull gemma3:270m-pt";
  const Deviation deviation = run_backend({.name = "cpu"}, 2000, 64);
  EXPECT_EQ(deviation.positions, golden_prompts().size() * 64);
  EXPECT_TRUE(deviation.other_ids.empty())
      << deviation.other_ids.size() << ", the first " << deviation.other_ids.front();
}

// The device has the CPU's bits (backend_cuda_test), so the same ids; here the whole texts on the real weights.
TEST(Golden, TheDeviceGivesEveryGreedyId) {
  if (const auto device = describe_gpu(); !device.ok()) GTEST_SKIP() << device.error().message;
  if (!real_model()) GTEST_SKIP() << "no real model: carat pull gemma3:270m-pt";
  const Deviation deviation = run_backend({.name = "cuda"}, 2000, 64);
  EXPECT_EQ(deviation.positions, golden_prompts().size() * 64);
  EXPECT_TRUE(deviation.other_ids.empty())
      << deviation.other_ids.size() << ", the first " << deviation.other_ids.front();
}

}  // namespace
}  // namespace carat::test
