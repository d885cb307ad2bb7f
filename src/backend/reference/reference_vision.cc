#include "backend/reference/reference_vision.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "model/vision_reference.h"

namespace carat {
namespace {

class ReferenceVision final : public VisionEncoder {
 public:
  explicit ReferenceVision(std::shared_ptr<const VisionTower> tower) : tower_(std::move(tower)) {}

  Result<std::vector<float>> encode(std::span<const float> pixels) override {
    if (pixels.size() != tower_->config.pixels()) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("an image has {} values, expected {}", pixels.size(), tower_->config.pixels())};
    }
    std::vector<float> features = vision_ref(*tower_, pixels).features;
    CARAT_CHECK(whole(tower_->maps));
    if (!std::all_of(features.begin(), features.end(), [](float x) { return std::isfinite(x); })) {
      return Error{ErrorCode::kCorruptFile,
                   "the vision tower computed a number that is not finite: its weights are damaged"};
    }
    return features;
  }
  uint64_t bytes() const override { return tower_->bytes; }

 private:
  std::shared_ptr<const VisionTower> tower_;
};

}  // namespace

std::unique_ptr<VisionEncoder> create_reference_vision(std::shared_ptr<const VisionTower> tower) {
  return std::make_unique<ReferenceVision>(std::move(tower));
}

}  // namespace carat
