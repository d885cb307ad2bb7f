// The vision tower of Gemma 3's 4B and larger models (SigLIP) and the projector behind it: its hyper-parameters, its
// tensors under the names of Hugging Face, of llama.cpp's mmproj files and of Ollama, and where it is found.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file_map.h"
#include "base/result.h"
#include "formats/dtype.h"

namespace carat {

struct VisionConfig {
  int32_t layers = 0;
  int32_t width = 0;
  int32_t ffn_width = 0;
  int32_t heads = 0;
  int32_t image_size = 0;  // of a side, in pixels: 896
  int32_t patch_size = 0;  // 14
  int32_t tokens = 256;    // that an image becomes: a square number
  int32_t text_width = 0;  // D of the text model
  float norm_epsilon = 1e-6f;
  // How a prompt spells an image: begin, `tokens` times soft, end.
  int32_t begin_id = 255999;
  int32_t end_id = 256000;
  int32_t soft_id = 262144;

  int32_t head_size() const { return width / heads; }
  int32_t side() const { return image_size / patch_size; }  // patches
  int32_t patches() const { return side() * side(); }
  int32_t patch_columns() const { return 3 * patch_size * patch_size; }
  size_t pixels() const { return 3 * static_cast<size_t>(image_size) * static_cast<size_t>(image_size); }
  int32_t token_side() const;
};

// Every field against what makes sense. Errors: kCorruptFile, naming `file` and the field.
Status validate(const VisionConfig& config, const std::string& file);

struct Affine {
  TensorView weight, bias;  // [out, in], [out]; of a LayerNorm both [in]
};

// C is the tower's width, F its ffn width, N the number of patches.
struct VisionLayer {
  Affine norm_1, q, k, v, out, norm_2, fc1, fc2;  // fc1: [F, C]   fc2: [C, F]
};

struct VisionWeights {
  Affine patch;         // [C, 3 * patch * patch]: columns in the order channel, y, x
  TensorView position;  // [N, C]
  std::vector<VisionLayer> layers;
  Affine post_norm;
  TensorView soft_norm;  // [C], of an RMS norm
  bool norm_plus_one = false;
  TensorView projection;  // [D, C], or [C, D] where it lies transposed
  bool projection_transposed = false;
};

struct VisionTower {
  VisionConfig config;
  VisionWeights weights;
  uint64_t bytes = 0;                   // of its tensors in the file
  FileMaps maps;                        // keeps the mapped files alive
  std::shared_ptr<const void> storage;  // and what lies in no file: random weights
};

enum class VisionNaming : uint8_t { kHuggingFace, kMmproj, kOllama };

// Finds every tensor of the tower among `tensors`. Errors: kCorruptFile, naming the file, the tensor and what was
// expected.
Result<VisionWeights> bind_vision_tensors(const VisionConfig& config, std::span<const TensorView> tensors,
                                          VisionNaming naming, const std::string& file);

// The tower of an mmproj file, of Ollama's single files, or of a Hugging Face directory, for a text model of this
// width; null where there is none. Errors: kNotFound, kCorruptFile; kUnsupported for a tower of another width.
Result<std::shared_ptr<const VisionTower>> open_vision(const std::filesystem::path& path, int32_t text_width);

// A weight that is NaN or infinity means a damaged file. Reads them all. Errors: kCorruptFile, naming tensor and row.
Status check_finite(const VisionWeights& weights);

// A vector in float32.
std::vector<float> vector_values(const TensorView& tensor);

// The projection as [D][C] in float32, whichever way it lies.
std::vector<float> projection_values(const VisionTower& tower);

// The soft norm's multipliers.
std::vector<float> soft_norm_values(const VisionTower& tower);

}  // namespace carat
