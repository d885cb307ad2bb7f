// The oracle of the vision tower: SigLIP and Gemma 3's projector in plain loops, sums in double. Anchored to Hugging
// Face by tests/golden/gemma3-tiny-vision.
#pragma once

#include <span>
#include <vector>

#include "model/vision.h"

namespace carat {

struct VisionResult {
  std::vector<float> hidden;    // [patches][C], after the last norm of the tower
  std::vector<float> features;  // [tokens][D], what the text model begins an image's rows with
};

// pixels: [3][S][S], normalised to -1 .. 1.
VisionResult vision_ref(const VisionTower& tower, std::span<const float> pixels);

}  // namespace carat
