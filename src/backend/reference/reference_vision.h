// The oracle of the vision tower as an encoder.
#pragma once

#include <memory>

#include "backend/vision_encoder.h"

namespace carat {

std::unique_ptr<VisionEncoder> create_reference_vision(std::shared_ptr<const VisionTower> tower);

}  // namespace carat
