// What the tests of every backend's vision tower share: a small shape, pictures of noise, and many pictures one after the other.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <span>
#include <vector>

#include "backend/vision_encoder.h"

namespace carat::test {

// Nothing is a whole block of anything: heads of 40, no multiple of 16; 144 patches, none of 64; an ffn of odd panels.
inline VisionConfig tower_config() {
  VisionConfig config;
  config.layers = 2;
  config.width = 80;
  config.ffn_width = 144;
  config.heads = 2;
  config.image_size = 168;
  config.patch_size = 14;
  config.tokens = 36;
  config.text_width = 96;
  return config;
}

inline std::vector<float> random_pixels(const VisionConfig& config, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> pixels(config.pixels());
  for (float& pixel : pixels) pixel = uniform(random);
  return pixels;
}

struct Seen {
  std::vector<float> hidden, features;  // picture after picture
};

// Looks at the pictures that `pixels` holds, `image` floats each.
inline Seen see_all(VisionEncoder& vision, const std::vector<float>& pixels, size_t image) {
  Seen seen;
  for (size_t begin = 0; begin < pixels.size(); begin += image) {
    std::vector<float> hidden;
    const auto features = vision.encode(std::span(pixels).subspan(begin, image), {}, &hidden);
    EXPECT_TRUE(features.ok()) << features.error().message;
    if (!features.ok()) break;
    seen.hidden.insert(seen.hidden.end(), hidden.begin(), hidden.end());
    seen.features.insert(seen.features.end(), features->begin(), features->end());
  }
  return seen;
}

}  // namespace carat::test
