// A picture's pixels and what a tower made of them, checked alike for every encoder.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "backend/vision_encoder.h"

namespace carat {

Status check_pixels(const VisionConfig& config, std::span<const float> pixels) {
  if (pixels.size() == config.pixels()) return {};
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("an image has {} values, expected {}: [3, {}, {}]", pixels.size(), config.pixels(),
                           config.image_size, config.image_size)};
}

Status check_features(std::span<const float> features) {
  if (std::all_of(features.begin(), features.end(), [](float x) { return std::isfinite(x); })) return {};
  return Error{ErrorCode::kCorruptFile, "the vision tower computed something that is no number"};
}

}  // namespace carat
