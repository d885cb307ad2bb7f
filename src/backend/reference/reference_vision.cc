#include "backend/reference/reference_vision.h"

#include "model/vision_reference.h"

namespace carat {
namespace {

class ReferenceVision final : public VisionEncoder {
 public:
  explicit ReferenceVision(std::shared_ptr<const VisionTower> tower) : tower_(std::move(tower)) {}

  Result<std::vector<float>> encode(std::span<const float> pixels, const std::function<bool()>&,
                                    std::vector<float>* hidden) override {
    CARAT_CHECK(check_pixels(tower_->config, pixels));
    VisionResult result = vision_ref(*tower_, pixels);
    CARAT_CHECK(whole(tower_->maps));
    CARAT_CHECK(check_features(result.features));
    if (hidden != nullptr) *hidden = std::move(result.hidden);
    return std::move(result.features);
  }
  std::string name() const override { return "reference"; }
  uint64_t bytes() const override { return tower_->bytes; }

 private:
  std::shared_ptr<const VisionTower> tower_;
};

}  // namespace

std::unique_ptr<VisionEncoder> create_reference_vision(std::shared_ptr<const VisionTower> tower) {
  return std::make_unique<ReferenceVision>(std::move(tower));
}

}  // namespace carat
