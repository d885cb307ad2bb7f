// The oracle of the vision tower against Hugging Face, alone and before the text model.
#include "model/vision.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "model/fixture.h"
#include "model/reference.h"
#include "model/vision_reference.h"
#include "support/compare.h"

namespace carat::test {
namespace {

// The README of the fixtures: what a correct implementation keeps in float32, relative to the size of a row.
constexpr double kRelative = 1e-4;

class VisionFixture : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = ModelFile::open(golden("gemma3-tiny-vision"));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    model_ = std::move(*opened);
    auto tower = open_vision(golden("gemma3-tiny-vision"), model_.config.width);
    ASSERT_TRUE(tower.ok()) << tower.error().message;
    tower_ = std::move(*tower);
    ASSERT_NE(tower_, nullptr);
    auto expected = SafetensorsFile::open(golden("gemma3-tiny-vision") / "expected.safetensors");
    ASSERT_TRUE(expected.ok()) << expected.error().message;
    expected_ = std::move(*expected);
    pixels_ = values_of<float>(expected_, "pixel_values");
    const size_t image = tower_->config.pixels();
    for (size_t begin = 0; begin < pixels_.size(); begin += image) {
      const VisionResult result = vision_ref(*tower_, std::span(pixels_).subspan(begin, image));
      hidden_.insert(hidden_.end(), result.hidden.begin(), result.hidden.end());
      features_.insert(features_.end(), result.features.begin(), result.features.end());
    }
  }

  // Image rows in the places of soft tokens; those of one image see each other.
  std::vector<Row> rows_of(std::span<const int32_t> ids) const {
    std::vector<Row> rows;
    int32_t next = 0;
    for (const int32_t id : ids) {
      const auto position = static_cast<int32_t>(rows.size());
      if (id != tower_->config.soft_id) {
        rows.push_back({id, position});
      } else {
        const int32_t of_image = next % tower_->config.tokens;
        rows.push_back({kImageRow | next++, position - of_image + tower_->config.tokens - 1});
      }
    }
    return rows;
  }

  ModelFile model_;
  std::shared_ptr<const VisionTower> tower_;
  SafetensorsFile expected_;
  std::vector<float> pixels_, hidden_, features_;
};

TEST_F(VisionFixture, ConfigIsRead) {
  const VisionConfig& config = tower_->config;
  EXPECT_EQ(config.layers, 3);
  EXPECT_EQ(config.tokens, 16);
  EXPECT_EQ(config.text_width, 256);
  EXPECT_EQ(config.soft_id, 1002);
  EXPECT_EQ(config.begin_id, 1000);
  EXPECT_EQ(config.end_id, 1001);
}

TEST_F(VisionFixture, TowerAndProjectorAgreeWithHuggingFace) {
  EXPECT_TRUE(rows_within(hidden_, values_of<float>(expected_, "vision_hidden"), 128, kRelative));
  EXPECT_TRUE(rows_within(features_, values_of<float>(expected_, "image_features"), 256, kRelative));
}

TEST_F(VisionFixture, LogitsAgreeWithHuggingFace) {
  const std::vector<Row> rows = rows_of(values_of<int32_t>(expected_, "input_ids"));
  const ReferenceForward reference(model_.config, model_.weights);
  GrowingKv kv(model_.config);
  const std::vector<float> logits = reference.logits(reference.hidden({rows, 0, features_}, kv));
  EXPECT_TRUE(rows_within(logits, values_of<float>(expected_, "logits"), static_cast<size_t>(model_.config.vocabulary),
                          kRelative));
}

TEST_F(VisionFixture, EveryGreedyIdAgreesWithHuggingFace) {
  const std::vector<int32_t> greedy = values_of<int32_t>(expected_, "greedy_ids");
  const size_t prompt = values_of<int32_t>(expected_, "input_ids").size();
  const ReferenceForward reference(model_.config, model_.weights);
  GrowingKv kv(model_.config);
  std::vector<Row> pending = rows_of(std::span(greedy).first(prompt));
  int32_t past = 0;
  for (size_t position = prompt; position < greedy.size(); ++position) {
    const std::vector<float> hidden = reference.hidden({pending, past, features_}, kv);
    const std::vector<float> logits =
        reference.logits(std::span(hidden).last(static_cast<size_t>(model_.config.width)));
    const auto best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    ASSERT_EQ(best, greedy[position]) << "at position " << position;
    past += static_cast<int32_t>(pending.size());
    pending = {{best, past}};
  }
}

TEST(VisionTest, ATowerForAnotherWidthIsRefused) {
  EXPECT_TRUE(fails_with(open_vision(golden("gemma3-tiny-vision"), 640), ErrorCode::kUnsupported,
                         {"for a text model of width 256", "640"}));
}

TEST_F(VisionFixture, AWeightThatIsNotFiniteIsNamed) {
  EXPECT_TRUE(check_finite(tower_->weights).ok());
  VisionWeights damaged = tower_->weights;
  for (TensorView* tensor : {&damaged.patch.weight, &damaged.layers[1].fc2.weight, &damaged.layers[2].norm_1.bias,
                             &damaged.soft_norm, &damaged.projection, &damaged.position}) {
    std::vector<std::byte> bytes(tensor->data.begin(), tensor->data.end());
    bytes.back() = std::byte{0x7f}, bytes[bytes.size() - 2] = std::byte{0xff};
    const auto whole = std::exchange(tensor->data, bytes);
    const Status refused = check_finite(damaged);
    ASSERT_FALSE(refused.ok()) << tensor->name;
    EXPECT_EQ(refused.error().message,
              fmt::format("{}, row {}: an element is not finite", tensor->name, tensor->rows - 1));
    tensor->data = whole;
  }
}

TEST(VisionTest, ATextModelHasNoTower) {
  const auto tower = open_vision(golden("gemma3-tiny-text"), 256);
  ASSERT_TRUE(tower.ok());
  EXPECT_EQ(*tower, nullptr);
}

}  // namespace
}  // namespace carat::test
