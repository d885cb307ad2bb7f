// The vision tower on the CPU: its weights, packed by the kernels that read them, and the memory of one image.
#pragma once

#include <memory>

#include "backend/cpu/kernels.h"
#include "backend/vision_encoder.h"

namespace carat::cpu {

// Errors: kUnsupported for widths that are not whole panels, kOutOfMemory, kCorruptFile for weights that are no numbers.
Result<std::unique_ptr<VisionEncoder>> create_cpu_vision(const Kernels& kernels, const BackendOptions& options,
                                                         std::shared_ptr<const VisionTower> tower);

// What that will take: weights and working memory.
Result<uint64_t> cpu_vision_bytes(const BackendOptions& options, const VisionTower& tower);

}  // namespace carat::cpu
