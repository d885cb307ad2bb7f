// A model's weights on the device: matrices as tiles (tile_format.h), repacked there from the file's blocks, norms as
// float32 multipliers. Matrices that are multiplied with the same input, and are of one type, are one matrix.
#pragma once

#include <vector>

#include "backend/cuda/device_memory.h"
#include "backend/cuda/params.h"
#include "model/config.h"
#include "model/step.h"
#include "model/weights.h"

namespace carat::cuda {

// A part of a stage's product: outputs [first, ...) of the stage come from here.
struct ProductPart {
  TileMatrix matrix;
  int32_t group_step = 1, group_first = 0;
};

struct CudaLayer {
  const float *attn_norm, *q_norm, *k_norm, *post_attn_norm, *ffn_norm, *post_ffn_norm;
  std::vector<ProductPart> qkv;      // q, k, v in this order, neighbours of one type as one (but k and v)
  std::vector<ProductPart> gate_up;  // groups of 8: gate, up, gate, up ...
  ProductPart attn_out, down;
  bool global = false;
};

struct CudaWeights {
  std::vector<CudaLayer> layers;
  TileMatrix embedding, head;
  const float* final_norm = nullptr;
  const double* frequencies[2] = {};  // of rope: sliding, global
  DeviceMemory memory;
  uint64_t bytes = 0, decode_bytes = 0;
  std::array<uint64_t, kStageCount> stage_bytes{};
  // Which of the two forms of rounded rows the products of a stage read.
  bool integers = false, floats = false;

  // Errors: kUnsupported for shapes that the kernels do not take; kOutOfMemory.
  static Result<CudaWeights> load(Device& device, const ModelConfig& config, const Weights& weights);
};

// Bytes of a matrix of this type and shape on the device.
uint64_t tile_matrix_bytes(TileType type, int64_t rows, int64_t columns);

}  // namespace carat::cuda
