// The vision tower on an NVIDIA device. 16- and 32-bit weights are multiplied as halves by the tensor cores, with float32
// sums; quantised ones as the definition says. How many bits an activation keeps: 22, or 11 with Precision::kFast.
#pragma once

#include <memory>

#include "backend/vision_encoder.h"

namespace carat::cuda {

class Device;

// On a given device: the machine's, or the emulator of the tests. Errors: kUnsupported for shapes that the kernels do not
// take, kOutOfMemory, kCorruptFile for weights that are no numbers.
Result<std::unique_ptr<VisionEncoder>> create_vision_on(std::unique_ptr<Device> device, const BackendOptions& options,
                                                        std::shared_ptr<const VisionTower> tower);

Result<std::unique_ptr<VisionEncoder>> create_cuda_vision(const BackendOptions& options,
                                                          std::shared_ptr<const VisionTower> tower);

// What the device's memory must hold: weights and working memory. It needs no device. Errors: kUnsupported.
Result<uint64_t> vision_bytes(const BackendOptions& options, const VisionTower& tower);
// The same, or that this program was built without CUDA.
Result<uint64_t> cuda_vision_bytes(const BackendOptions& options, const VisionTower& tower);

}  // namespace carat::cuda
