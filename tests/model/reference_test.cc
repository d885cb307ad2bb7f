// The oracle against Hugging Face: everything else in Carat is measured against the oracle.
#include "model/reference.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "model/fixture.h"
#include "model/reference_ops.h"
#include "support/compare.h"

namespace carat::test {
namespace {

// Both sides compute in float32 from the same bf16 weights; the README of the fixtures gives 1e-4 as what a correct
// implementation keeps, relative to the size of a row.
constexpr double kRelative = 1e-4;

class ReferenceFixture : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto opened = ModelFile::open(golden(GetParam()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    model_ = std::move(*opened);
    auto expected = SafetensorsFile::open(golden(GetParam()) / "expected.safetensors");
    ASSERT_TRUE(expected.ok()) << expected.error().message;
    expected_ = std::move(*expected);
    ids_ = values_of<int32_t>(expected_, "input_ids");
    all_rows_.resize(ids_.size());
    std::iota(all_rows_.begin(), all_rows_.end(), 0);
  }

  ModelFile model_;
  SafetensorsFile expected_;
  std::vector<int32_t> ids_, all_rows_;
};

TEST_P(ReferenceFixture, LogitsAgreeWithHuggingFace) {
  const ReferenceForward reference(model_.config, model_.weights);
  GrowingKv kv(model_.config);
  const std::vector<float> logits = reference.forward(ids_, 0, all_rows_, kv);
  EXPECT_TRUE(rows_within(logits, values_of<float>(expected_, "logits"), static_cast<size_t>(model_.config.vocabulary),
                          kRelative));
}

TEST_P(ReferenceFixture, HiddenStatesOfEveryLayerAgreeWithHuggingFace) {
  std::vector<std::vector<float>> hidden;  // as HF counts: the embeddings, then after each layer
  ReferenceForward reference(model_.config, model_.weights);
  reference.set_tap([&](Stage stage, int32_t, std::span<const float> values) {
    if (stage == Stage::kEmbed || stage == Stage::kDown) hidden.emplace_back(values.begin(), values.end());
  });
  GrowingKv kv(model_.config);
  (void)reference.forward(ids_, 0, {}, kv);
  ASSERT_EQ(hidden.size(), static_cast<size_t>(model_.config.layers) + 1);
  // HF's last hidden state is after the final norm.
  rms_norm_ref(hidden.back(), norm_multipliers(model_.weights, model_.weights.final_norm), model_.config.norm_epsilon);
  for (size_t i = 0; i < hidden.size(); ++i) {
    EXPECT_TRUE(rows_within(hidden[i], values_of<float>(expected_, "hidden." + std::to_string(i)),
                            static_cast<size_t>(model_.config.width), kRelative))
        << "hidden." << i;
  }
}

TEST_P(ReferenceFixture, EveryGreedyIdAgreesWithHuggingFace) {
  const std::vector<int32_t> greedy = values_of<int32_t>(expected_, "greedy_ids");
  constexpr int32_t kPrompt = 24;
  ASSERT_GT(greedy.size(), size_t{kPrompt});
  const ReferenceForward reference(model_.config, model_.weights);
  GrowingKv kv(model_.config);
  std::vector<int32_t> pending(greedy.begin(), greedy.begin() + kPrompt);
  for (auto past = int32_t{0}, position = kPrompt; position < static_cast<int32_t>(greedy.size()); ++position) {
    const int32_t last = static_cast<int32_t>(pending.size()) - 1;
    const std::vector<float> logits = reference.forward(pending, past, std::array{last}, kv);
    const auto best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    ASSERT_EQ(best, greedy[static_cast<size_t>(position)]) << "at position " << position;
    past += last + 1;
    pending = {best};
  }
}

// The oracle itself has no batch: a row's arithmetic does not depend on its neighbours, so the bits are equal.
TEST_P(ReferenceFixture, ChunksGiveTheBitsOfTheWhole) {
  const ReferenceForward reference(model_.config, model_.weights);
  GrowingKv whole_kv(model_.config);
  const std::vector<float> whole = reference.forward(ids_, 0, all_rows_, whole_kv);
  for (const size_t chunk : {5, 33}) {
    GrowingKv kv(model_.config);
    std::vector<float> joined;
    for (size_t begin = 0; begin < ids_.size(); begin += chunk) {
      const size_t rows = std::min(chunk, ids_.size() - begin);
      const std::vector<float> logits = reference.forward(
          std::span(ids_).subspan(begin, rows), static_cast<int32_t>(begin), std::span(all_rows_).first(rows), kv);
      joined.insert(joined.end(), logits.begin(), logits.end());
    }
    EXPECT_TRUE(same_bits(joined, whole)) << "chunks of " << chunk;
  }
}

TEST_P(ReferenceFixture, OnlyTheWantedLogitsComeBack) {
  const ReferenceForward reference(model_.config, model_.weights);
  GrowingKv kv(model_.config), again(model_.config);
  const auto vocabulary = static_cast<size_t>(model_.config.vocabulary);
  const std::vector<float> all = reference.forward(ids_, 0, all_rows_, kv);
  const std::vector<float> two = reference.forward(ids_, 0, std::array{3, 90}, again);
  ASSERT_EQ(two.size(), 2 * vocabulary);
  EXPECT_TRUE(same_bits(std::span(two).first(vocabulary), std::span(all).subspan(3 * vocabulary, vocabulary)));
  EXPECT_TRUE(same_bits(std::span(two).last(vocabulary), std::span(all).subspan(90 * vocabulary, vocabulary)));
}

INSTANTIATE_TEST_SUITE_P(HuggingFace, ReferenceFixture, testing::Values("gemma3-tiny-text", "gemma3-tiny-text-scaled"),
                         [](const auto& param_info) {
                           return std::string(param_info.param) == "gemma3-tiny-text" ? "plain" : "scaled";
                         });

}  // namespace
}  // namespace carat::test
