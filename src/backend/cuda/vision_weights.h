// A vision tower's weights on the device: matrices of 16- and 32-bit weights as tiles of halves times a power of two (so BF16
// loses nothing), quantised ones as the text model's tiles, vectors as float32. Heads are filled up to 72 outputs.
#pragma once

#include <vector>

#include "backend/cuda/device_memory.h"
#include "backend/cuda/half_params.h"
#include "base/result.h"
#include "model/vision.h"

namespace carat::cuda {

struct TowerMatrix {
  TileMatrix tiles{};
  bool halves = false;
  int32_t planes = 1;  // of halves
  int64_t plane = 0;   // bytes from one to the next
  float scale = 1;     // of halves: what is stored is so many times the weight
  float length = 0;    // of the longest row
  float largest_bias = 0;
  const float* bias = nullptr;  // [rows], or null

  uint64_t bytes() const;
};

struct TowerNorm {
  const float *weight = nullptr, *bias = nullptr;
  float largest = 0, length = 0;  // bounds of a result: of an element, of the row
};

struct TowerLayer {
  TowerNorm norm_1, norm_2;
  TowerMatrix heads, out, fc1, fc2;  // heads: queries, keys, values
};

struct TowerWeights {
  TowerMatrix patch, projection;
  const float* position = nullptr;
  TowerNorm post_norm;
  const float* soft_norm = nullptr;
  float largest_soft = 0;
  std::vector<TowerLayer> layers;
  DeviceMemory memory;

  // Shapes and types only: what load() would make. Errors: kUnsupported.
  static Result<TowerWeights> describe(const VisionTower& tower);
  static Result<TowerWeights> load(Device& device, const VisionTower& tower);

  uint64_t matrix_bytes() const;
  // f(matrix) for each of them.
  template <class F>
  void each_matrix(const F& f) {
    f(patch);
    for (TowerLayer& layer : layers) {
      f(layer.heads);
      f(layer.out);
      f(layer.fc1);
      f(layer.fc2);
    }
    f(projection);
  }
};

}  // namespace carat::cuda
