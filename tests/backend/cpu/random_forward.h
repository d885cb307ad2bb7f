// A backend of random weights, and the logits that it gives for a sequence fed in chunks.
#pragma once

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/random_model.h"
#include "base/checked.h"
#include "support/text_step.h"

namespace carat::test {

inline constexpr int32_t kStepRows = 48;  // the largest step

inline std::vector<int32_t> random_tokens(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 512);
  return tokens;
}

// One sequence's page tables, for steps of so many rows; `first_page` keeps sequences apart.
struct Pages {
  std::vector<int32_t> global, local;
  Pages(const ModelConfig& config, int32_t tokens, int32_t first_page, int32_t step_rows = kStepRows) {
    for (int32_t i = 0; i < div_ceil(tokens, kPageTokens); ++i) global.push_back(first_page + i);
    for (int32_t i = 0; i < div_ceil(config.window + step_rows, kPageTokens) + 1; ++i) local.push_back(first_page + i);
  }
};

inline std::unique_ptr<Backend> open_random(const RandomModel& model, const std::string& name, int threads) {
  BackendOptions options;
  options.name = name;
  options.threads = threads;
  auto backend = create_backend(options, model.config, model.weights);
  EXPECT_TRUE(backend.ok()) << backend.error().message;
  EXPECT_EQ((*backend)->info().name, name);  // the forced one is the one that runs
  EXPECT_TRUE((*backend)->reserve_kv({40, 40, kStepRows}).ok());
  return std::move(*backend);
}

// Logits of every row.
inline std::vector<float> chunked_logits(Backend& backend, const ModelConfig& config,
                                         const std::vector<int32_t>& tokens, const std::vector<int32_t>& chunks,
                                         int32_t first_page = 0, int32_t step_rows = kStepRows) {
  const Pages pages(config, static_cast<int32_t>(tokens.size()), first_page, step_rows);
  std::vector<float> out;
  int32_t past = 0;
  for (size_t i = 0; past < static_cast<int32_t>(tokens.size()); ++i) {
    const int32_t count = std::min(chunks[i % chunks.size()], static_cast<int32_t>(tokens.size()) - past);
    const SeqRows seq{0, count, past, pages.global, pages.local};
    std::vector<int32_t> rows(static_cast<size_t>(count));
    for (int32_t r = 0; r < count; ++r) rows[static_cast<size_t>(r)] = r;
    const auto part = std::span(tokens).subspan(static_cast<size_t>(past), static_cast<size_t>(count));
    const std::vector<float> chunk = TextStep(part, {&seq, 1}, rows).run(backend);
    out.insert(out.end(), chunk.begin(), chunk.end());
    past += count;
  }
  return out;
}

}  // namespace carat::test
