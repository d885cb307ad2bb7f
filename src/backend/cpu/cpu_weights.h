// A model's weights, packed for the CPU: one copy, made matrix by matrix while the mapped file's pages are let go.
#pragma once

#include <array>
#include <vector>

#include "backend/cpu/arena.h"
#include "backend/cpu/kernels.h"
#include "base/result.h"
#include "base/threads.h"
#include "model/config.h"
#include "model/step.h"
#include "model/weights.h"

namespace carat::cpu {

class CpuWeights {
 public:
  // The sizes of a model that the kernels go by; without weights.
  static ModelPack shape_of(const ModelConfig& config);

  // What pack() will take. Errors: kUnsupported, as there.
  static Result<uint64_t> packed_bytes(const ModelConfig& config, const Weights& weights);

  // Errors: kOutOfMemory; kUnsupported for a shape that the kernels do not take; kCorruptFile for a weight that is not
  // finite, naming the tensor and the row.
  static Result<CpuWeights> pack(const ModelConfig& config, const Weights& weights, const Kernels& kernels, Team& team);

  ModelPack model{};  // points into this object; layers' cache pointers are the backend's to fill
  std::vector<LayerPack> layers;
  uint64_t bytes = 0;         // all of them
  uint64_t decode_bytes = 0;  // read for one token: all but the embedding where it is not the head
  std::array<uint64_t, kStageCount> stage_bytes{};  // the same, by the stage that reads them

 private:
  Arena arena_;
  std::vector<std::vector<float>> norms_;
};

}  // namespace carat::cpu
