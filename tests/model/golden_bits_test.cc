// The real 270M's logits, bit for bit as x86 wrote them (tests/golden/bits/270m.txt): with every instruction set that this
// machine has and that is no plain C++ (golden_test.cc compares texts; this is what "the same on every machine" means).
#include "support/golden_bits.h"

#include <algorithm>
#include <iostream>
#include <numeric>

#include "backend/backend.h"
#include "model/fixture.h"
#include "support/real_model.h"
#include "support/text_step.h"

namespace carat::test {
namespace {

constexpr size_t kLongest = 16;  // tokens of a prompt
constexpr int kDecoded = 2;      // tokens after it

// The logits after the prompt, all its rows at once, and after each of the tokens that it leads to.
void digest_prompt(Backend& backend, const std::vector<int32_t>& prompt, BitDigest& digest) {
  const std::vector<int32_t> pages = {0};
  std::vector<int32_t> tokens = prompt;
  int32_t past = 0;
  for (int step = 0; step <= kDecoded; ++step) {
    const auto rows = static_cast<int32_t>(tokens.size());
    const std::vector<SeqRows> seqs{{0, rows, past, pages, pages}};
    const std::vector<int32_t> last = {rows - 1};
    const std::vector<float> logits = TextStep(tokens, seqs, last).run(backend);
    ASSERT_FALSE(logits.empty());
    digest.add(logits);
    past += rows;
    tokens = {static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
  }
}

TEST(GoldenBits, TheRealModelGivesThemOnThisMachine) {
  const auto path = real_model();
  if (!path) GTEST_SKIP() << "no real model: carat pull gemma3:270m-pt";
  const Result<ModelFile> model = ModelFile::open(*path);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const GoldenBits golden("270m.txt");
  const std::vector<GoldenPrompt> prompts = golden_prompts();
  for (const std::string& name : backend_names()) {
    if (name.rfind("cpu/", 0) != 0 || (name == "cpu/portable" && backend_names().front() != name)) continue;
    const auto backend = create_backend({.name = name}, model->config, model->weights);
    ASSERT_TRUE(backend.ok()) << backend.error().message;
    ASSERT_TRUE((*backend)->reserve_kv({.global_pages = 1, .local_pages = 1, .max_rows = kLongest}).ok());
    size_t compared = 0;
    for (const GoldenPrompt& prompt : prompts) {
      if (prompt.ids.size() > kLongest || compared == 3) continue;
      BitDigest digest;
      digest_prompt(**backend, prompt.ids, digest);
      EXPECT_TRUE(golden.holds(prompt.name, digest)) << (*backend)->info().name;
      ++compared;
    }
    EXPECT_EQ(compared, 3u);
    std::cout << (*backend)->info().name << ": the bits of " << compared << " prompts\n";
  }
}

}  // namespace
}  // namespace carat::test
