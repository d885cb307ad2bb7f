// From a picture's pixels to the embeddings that stand in a prompt for it, on the hardware of a backend. Loaded when
// the first picture comes; text needs nothing of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "model/vision.h"

namespace carat {

class VisionEncoder {
 public:
  virtual ~VisionEncoder() = default;
  // pixels: [3][S][S], normalised to -1 .. 1. -> [tokens][D]. One call at a time.
  // Errors: kInvalidArgument for another number of pixels; kCorruptFile when the tower computed no numbers.
  virtual Result<std::vector<float>> encode(std::span<const float> pixels) = 0;
  virtual uint64_t bytes() const = 0;  // resident: weights and working memory
};

// `options.name` as for create_backend. Errors: those of create_backend; kUnsupported for a shape that the kernels do
// not take.
Result<std::unique_ptr<VisionEncoder>> create_vision_encoder(const BackendOptions& options,
                                                             std::shared_ptr<const VisionTower> tower);

}  // namespace carat
