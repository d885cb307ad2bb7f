// A vision tower of random weights in any shape, for benchmarks and tests, and the file of a tower.
#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "model/vision.h"

namespace carat {

// The tower of the 4B, 12B and 27B: SigLIP-So400m at 896 x 896.
VisionConfig siglip_config(int32_t text_width);
// A small one with sides that are all different, for tests: 112 x 112, 16 tokens a picture.
VisionConfig tiny_vision_config(int32_t text_width);

// Matrices in `type` (the convolution and rows that are not whole blocks in F16 where that is quantised, as llama.cpp's
// quantiser has it), vectors in float32. Every layer keeps its input's scale.
std::shared_ptr<const VisionTower> random_tower(const VisionConfig& config, DType type, uint64_t seed);

// As llama.cpp's converter writes an mmproj file, architecture "clip". Errors: kIo.
Status write_mmproj(const std::filesystem::path& path, const VisionTower& tower);

}  // namespace carat
