// What files say about a vision tower: the configuration in each of the three dialects, and the tower itself.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "model/vision.h"

namespace carat {

using VisionTowerPtr = std::shared_ptr<const VisionTower>;  // null: there is none

// Of an mmproj file (general.architecture "clip") or of Ollama's single file. Errors: kCorruptFile, kUnsupported.
Result<VisionTowerPtr> gguf_vision(const GgufFile& file, int32_t text_width);

// Of a directory's config.json and its tensors. Errors: kCorruptFile, kUnsupported.
Result<VisionTowerPtr> hf_vision(const nlohmann::json& config, const std::string& config_file,
                                 const SafetensorsFile& file, int32_t text_width);

}  // namespace carat
