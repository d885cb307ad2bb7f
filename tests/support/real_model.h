// The real Gemma 3 270M of the model tests, and what exact arithmetic makes of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace carat::test {

// The GGUF file that `carat pull gemma3:270m-pt` stores: CARAT_TEST_MODEL, else the blob of that digest in CARAT_HOME
// or
// ~/.carat; nothing where it was never pulled.
std::optional<std::filesystem::path> real_model();

// A line of tests/golden/270m/golden.jsonl; make_golden.py describes it.
struct GoldenPrompt {
  std::string name;
  std::vector<int32_t> ids, greedy, ties;
  std::vector<std::vector<int32_t>> top_ids;
  std::vector<std::vector<float>> top_logprobs;

  // Positions whose greedy id is not a matter of rounding: those before the first tie.
  size_t decided() const { return ties.empty() ? greedy.size() : static_cast<size_t>(ties.front()); }
};

std::vector<GoldenPrompt> golden_prompts();

}  // namespace carat::test
