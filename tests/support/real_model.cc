#include "support/real_model.h"

#include <cstdlib>
#include <fstream>

#include "base/json.h"
#include "support/paths.h"

namespace carat::test {

namespace fs = std::filesystem;

std::optional<fs::path> real_model() {
  fs::path path;
  if (const char* named = std::getenv("CARAT_TEST_MODEL"); named != nullptr) {
    path = named;
  } else {
    const char* store = std::getenv("CARAT_HOME");
    const char* home = std::getenv("HOME");
    path = store != nullptr ? fs::path(store) : fs::path(home != nullptr ? home : "") / ".carat";
    path = path / "blobs" / "sha256-a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818";
  }
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return std::nullopt;
  return path;
}

std::vector<GoldenPrompt> golden_prompts() {
  std::vector<GoldenPrompt> prompts;
  std::ifstream file(fs::path(kSourceDir) / "tests/golden/270m/golden.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto json = nlohmann::json::parse(line);
    GoldenPrompt prompt;
    json.at("name").get_to(prompt.name);
    json.at("ids").get_to(prompt.ids);
    json.at("greedy").get_to(prompt.greedy);
    json.at("ties").get_to(prompt.ties);
    json.at("top_ids").get_to(prompt.top_ids);
    json.at("top_logprobs").get_to(prompt.top_logprobs);
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace carat::test
