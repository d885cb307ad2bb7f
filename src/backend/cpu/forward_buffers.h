// The working memory of a forward pass: activations of the largest step, and each worker's scratch.
#pragma once

#include <vector>

#include "backend/cpu/arena.h"
#include "backend/cpu/kernels.h"
#include "base/result.h"

namespace carat::cpu {

class ForwardBuffers {
 public:
  // Bytes for steps of `max_rows` rows on `workers` workers, for kernels with tiles or without.
  static size_t bytes(const ModelPack& model, int64_t max_rows, int workers, bool tiles);

  // Errors: kOutOfMemory.
  Status allocate(const ModelPack& model, int64_t max_rows, int workers, bool tiles);

  // Makes the head's input at least so large: one row in most steps, many for prompt log-probabilities.
  void reserve_last(int64_t rows);

  // Sets the pointers that all steps share, and those of one of the two halves in flight.
  void put_into(ForwardContext& context, int half) const;
  // cos and sin [T][E / 2] of a half, of sliding (0) and global (1) layers.
  float* rope_cos(int half, LayerKind kind) const {
    return rope_ + static_cast<size_t>(half * 4 + kind * 2) * rope_floats_;
  }
  float* rope_sin(int half, LayerKind kind) const { return rope_cos(half, kind) + rope_floats_; }

 private:
  Arena arena_;
  int64_t width_ = 0;
  bool tiles_ = false;
  Activations norm_, attended_, gated_, last_;
  float *hidden_ = nullptr, *projected_ = nullptr, *query_ = nullptr, *key_ = nullptr, *value_ = nullptr;
  float* rope_ = nullptr;  // [half][kind][cos, sin][T][E / 2]
  size_t rope_floats_ = 0;
  std::vector<Scratch> scratch_;
  std::vector<uint8_t> last_storage_;
  int64_t last_rows_ = 0;
};

}  // namespace carat::cpu
