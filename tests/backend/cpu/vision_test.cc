// The vision tower on every instruction set: against Hugging Face's values, against the oracle, against itself.
#include <atomic>
#include <limits>

#include "backend/cpu/cpu_backend.h"
#include "backend/small_tower.h"
#include "backend/vision_encoder.h"
#include "model/fixture.h"
#include "model/vision_reference.h"
#include "model/vision_synth.h"
#include "support/compare.h"

namespace carat::test {
namespace {

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const cpu::Kernels* kernels : cpu::available_kernels()) names.emplace_back(kernels->name);
  return names;
}

std::unique_ptr<VisionEncoder> encoder(std::shared_ptr<const VisionTower> tower, const std::string& name, int threads) {
  BackendOptions options;
  options.name = name;
  options.threads = threads;
  auto made = create_vision_encoder(options, std::move(tower));
  EXPECT_TRUE(made.ok()) << made.error().message;
  return std::move(*made);
}

TEST(CpuVisionTest, EveryInstructionSetAgreesWithHuggingFace) {
  const auto tower = open_vision(golden("gemma3-tiny-vision"), 256);
  ASSERT_TRUE(tower.ok()) << tower.error().message;
  const auto expected = SafetensorsFile::open(golden("gemma3-tiny-vision") / "expected.safetensors");
  ASSERT_TRUE(expected.ok()) << expected.error().message;
  const std::vector<float> pixels = values_of<float>(*expected, "pixel_values");
  for (const std::string& name : kernel_names()) {
    const auto vision = encoder(*tower, name, 2);
    const Seen seen = see_all(*vision, pixels, (*tower)->config.pixels());
    EXPECT_TRUE(rows_within(seen.hidden, values_of<float>(*expected, "vision_hidden"), 128, 1e-4)) << name;
    EXPECT_TRUE(rows_within(seen.features, values_of<float>(*expected, "image_features"), 256, 1e-4)) << name;
  }
}

// One image, every type of weights: within the rounding of float32 sums (rounded activations: 15 bits) of the oracle,
// and the same bits from every instruction set, any number of threads, and a second time.
TEST(CpuVisionTest, EveryTypeHasTheOraclesValuesAndEverywhereTheSameBits) {
  VisionConfig config = tower_config();
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    config.width = is_quantised(type) ? 128 : 80;
    config.ffn_width = is_quantised(type) ? 304 : 144;  // not whole blocks of 32: fc2 stays F16, as SigLIP's does
    const auto tower = random_tower(config, type, 7);
    const std::vector<float> pixels = random_pixels(config, 3);
    const VisionResult oracle = vision_ref(*tower, pixels);
    const auto first = encoder(tower, "cpu/portable", 1)->encode(pixels);
    ASSERT_TRUE(first.ok()) << first.error().message;
    EXPECT_TRUE(rows_within(*first, oracle.features, 96, is_quantised(type) ? 5e-4 : 2e-5)) << dtype_info(type).name;
    for (const std::string& name : kernel_names()) {
      if (name == "cpu/portable") continue;
      for (const int threads : {1, 3}) {
        const auto vision = encoder(tower, name, threads);
        ASSERT_TRUE(vision->encode(random_pixels(config, 4)).ok());  // what another image leaves behind
        const auto again = vision->encode(pixels);
        ASSERT_TRUE(again.ok()) << again.error().message;
        EXPECT_EQ(*again, *first) << name << ", " << threads << " threads, " << dtype_info(type).name;
      }
    }
  }
}

TEST(CpuVisionTest, BytesAreKnownBeforeItIsLoaded) {
  const auto tower = random_tower(tower_config(), DType::kBF16, 1);
  BackendOptions options;
  options.threads = 2;
  const auto expected = vision_encoder_bytes(options, *tower);
  ASSERT_TRUE(expected.ok());
  const auto vision = create_vision_encoder(options, tower);
  ASSERT_TRUE(vision.ok());
  EXPECT_EQ(*expected, (*vision)->bytes());
}

TEST(CpuVisionTest, TheRealShapesWorkingMemoryIsBelow200Megabytes) {
  VisionConfig config = siglip_config(2560);
  VisionTower tower;  // no weights: what is left is the working memory
  tower.config = config;
  for (const int threads : {1, 2, 8, 32}) {
    BackendOptions options;
    options.threads = threads;
    const auto bytes = vision_encoder_bytes(options, tower);
    ASSERT_TRUE(bytes.ok());
    EXPECT_LT(*bytes, 200'000'000u) << threads;
    EXPECT_GT(*bytes, 70'000'000u);
  }
}

TEST(CpuVisionTest, DamageIsAnErrorAndNotAPicture) {
  const VisionConfig config = tower_config();
  std::vector<float> pixels = random_pixels(config, 5);
  const auto vision = encoder(random_tower(config, DType::kF32, 1), "cpu", 2);
  pixels[1234] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(fails_with(vision->encode(pixels), ErrorCode::kCorruptFile, {"no number"}));
  pixels.pop_back();
  EXPECT_TRUE(fails_with(vision->encode(pixels), ErrorCode::kInvalidArgument, {"expected"}));
}

TEST(CpuVisionTest, ItCanBeGivenUpAndGoesOnAfterwards) {
  const VisionConfig config = tower_config();
  const std::vector<float> pixels = random_pixels(config, 5);
  const auto vision = encoder(random_tower(config, DType::kF32, 1), "cpu", 2);
  const auto expected = vision->encode(pixels);
  std::atomic<int> asked{0};
  const auto given_up = vision->encode(pixels, [&] { return ++asked > 5; });
  EXPECT_TRUE(fails_with(given_up, ErrorCode::kCancelled, {"given up"}));
  EXPECT_LT(asked, 10);
  const auto again = vision->encode(pixels);
  ASSERT_TRUE(again.ok() && expected.ok());
  EXPECT_EQ(*again, *expected);
}

TEST(CpuVisionTest, WidthsThatAreNotWholePanelsAreRefused) {
  VisionConfig config = tower_config();
  config.ffn_width = 150;
  EXPECT_TRUE(fails_with(create_vision_encoder({}, random_tower(config, DType::kF32, 1)), ErrorCode::kUnsupported,
                         {"ffn width", "150", "16"}));
}

}  // namespace
}  // namespace carat::test
