// From a picture's pixels to the embeddings that stand in a prompt for it, on the hardware of a backend. Loaded when
// the first picture comes; text needs nothing of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "model/vision.h"

namespace carat {

// Of the last image.
struct VisionStageTime {
  std::string name;
  double seconds;
};

class VisionEncoder {
 public:
  virtual ~VisionEncoder() = default;
  // pixels: [3][S][S], normalised to -1 .. 1. -> [tokens][D]. One call at a time. `hidden`, where wanted, becomes the
  // states of the patches after the tower's last norm, [N][C]. `cancelled` may be null; it is asked now and then, by
  // any thread.
  // Errors: kInvalidArgument for another number of pixels; kCorruptFile when the tower computed no numbers; kCancelled.
  virtual Result<std::vector<float>> encode(std::span<const float> pixels, const std::function<bool()>& cancelled = {},
                                            std::vector<float>* hidden = nullptr) = 0;
  virtual std::string name() const = 0;  // of the kernels, as backends are named
  virtual uint64_t bytes() const = 0;    // resident: weights and working memory
  // Multiplications and additions of float32 a second that the hardware does at most, measured now; 0: not known.
  virtual double peak_operations() { return 0; }
  // What each part of the last image took, where that is known.
  virtual std::vector<VisionStageTime> stage_times() { return {}; }
};

// `options.name` as for create_backend. Errors: those of create_backend; kUnsupported for a shape that the kernels do
// not take.
Result<std::unique_ptr<VisionEncoder>> create_vision_encoder(const BackendOptions& options,
                                                             std::shared_ptr<const VisionTower> tower);

// What that will take, before it does.
Result<uint64_t> vision_encoder_bytes(const BackendOptions& options, const VisionTower& tower);

// What every encoder checks of its input and of its output.
Status check_pixels(const VisionConfig& config, std::span<const float> pixels);
Status check_features(std::span<const float> features);

}  // namespace carat
