// The vision tower's CUDA kernels, on the emulator and, where there is one, on the device: against Hugging Face's values, against
// the oracle, against themselves.
#include <gtest/gtest.h>

#include <limits>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/cuda_vision.h"
#include "backend/cuda/emulated_device.h"
#include "backend/small_tower.h"
#include "model/fixture.h"
#include "model/vision_reference.h"
#include "model/vision_synth.h"
#include "support/compare.h"

namespace carat::test {
namespace {

constexpr int kHopper = 9, kOrin = 8, kReal = 0;

class CudaVisionTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (GetParam() != kReal) return;
    if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  }
  std::unique_ptr<VisionEncoder> encoder(std::shared_ptr<const VisionTower> tower, Precision precision) const {
    BackendOptions options;
    options.name = "cuda";
    options.precision = precision;
    auto made = GetParam() == kReal ? create_vision_encoder(options, std::move(tower))
                                    : cuda::create_vision_on(emulated_device(GetParam()), options, std::move(tower));
    EXPECT_TRUE(made.ok()) << made.error().message;
    return std::move(*made);
  }
};

TEST_P(CudaVisionTest, AgreesWithHuggingFace) {
  const auto tower = open_vision(golden("gemma3-tiny-vision"), 256);
  ASSERT_TRUE(tower.ok()) << tower.error().message;
  const auto expected = SafetensorsFile::open(golden("gemma3-tiny-vision") / "expected.safetensors");
  ASSERT_TRUE(expected.ok()) << expected.error().message;
  const std::vector<float> pixels = values_of<float>(*expected, "pixel_values");
  for (const Precision precision : {Precision::kExact, Precision::kFast}) {
    const auto vision = encoder(*tower, precision);
    const Seen seen = see_all(*vision, pixels, (*tower)->config.pixels());
    // Fast: what goes into a product is rounded to 11 bits, so it and the product are off by 2^-11 / sqrt(6) = 2e-4 of their
    // size. Such roundings: of the patches, and six in each of three layers; independent, they add up to 8.7e-4. The worst of
    // 16,384 values is off by 4.5 times that.
    const double tolerance = precision == Precision::kExact ? 1e-4 : 4e-3;
    EXPECT_TRUE(rows_within(seen.hidden, values_of<float>(*expected, "vision_hidden"), 128, tolerance));
    EXPECT_TRUE(rows_within(seen.features, values_of<float>(*expected, "image_features"), 256, tolerance));
  }
}

TEST_P(CudaVisionTest, EveryTypeHasTheOraclesValuesAndTheSameBitsAgain) {
  VisionConfig config = tower_config();
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    config.width = is_quantised(type) ? 128 : 80;
    config.ffn_width = is_quantised(type) ? 304 : 144;  // not whole blocks of 32: fc2 stays F16, as SigLIP's does
    const auto tower = random_tower(config, type, 7);
    const std::vector<float> pixels = random_pixels(config, 3);
    const VisionResult oracle = vision_ref(*tower, pixels);
    const auto vision = encoder(tower, Precision::kExact);
    const auto first = vision->encode(pixels);
    ASSERT_TRUE(first.ok()) << first.error().message;
    EXPECT_TRUE(rows_within(*first, oracle.features, 96,
                            is_quantised(type)    ? 5e-4
                            : type == DType::kF32 ? 2e-5
                                                  : 1e-4))
        << dtype_info(type).name;
    if (GetParam() != kReal) continue;
    ASSERT_TRUE(vision->encode(random_pixels(config, 4)).ok());  // what another image leaves behind
    const auto again = vision->encode(pixels);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(*again, *first) << dtype_info(type).name;
  }
}

TEST_P(CudaVisionTest, DamageIsAnErrorAndTheNextPictureIsWhole) {
  VisionConfig config = tower_config();
  config.layers = 1;
  const auto vision = encoder(random_tower(config, DType::kF16, 1), Precision::kFast);
  const std::vector<float> whole = random_pixels(config, 5);
  const auto expected = vision->encode(whole);
  ASSERT_TRUE(expected.ok()) << expected.error().message;
  std::vector<float> pixels = whole;
  pixels[1234] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(fails_with(vision->encode(pixels), ErrorCode::kCorruptFile, {"no number"}));
  const auto again = vision->encode(whole);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(*again, *expected);
  pixels.pop_back();
  EXPECT_TRUE(fails_with(vision->encode(pixels), ErrorCode::kInvalidArgument, {"expected"}));
  EXPECT_TRUE(fails_with(vision->encode(whole, [] { return true; }), ErrorCode::kCancelled, {"given up"}));
}

std::string device_name(const testing::TestParamInfo<int>& of) {
  return of.param == kHopper ? "EmulatedHopper" : of.param == kOrin ? "EmulatedOrin" : "Device";
}
INSTANTIATE_TEST_SUITE_P(Devices, CudaVisionTest, testing::Values(kHopper, kOrin, kReal), device_name);

TEST(CudaVisionShapes, TheRealShapesWorkingMemoryIsBelow200Megabytes) {
  VisionTower tower;  // no weights: what is left is the working memory
  tower.config = siglip_config(2560);
  const auto bytes = cuda::vision_bytes({}, tower);
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  EXPECT_LT(*bytes, 200'000'000u);
  EXPECT_GT(*bytes, 100'000'000u);
}

TEST(CudaVisionShapes, WhatTheKernelsDoNotTakeIsRefused) {
  VisionTower tower;
  tower.config = siglip_config(2560);
  tower.config.heads = 8;
  EXPECT_TRUE(fails_with(cuda::vision_bytes({}, tower), ErrorCode::kUnsupported, {"head size", "144", "72"}));
}

}  // namespace
}  // namespace carat::test
