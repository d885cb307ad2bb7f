// The weights of a Gemma 3 text model as views into mapped files: what a backend loads, and what the reference reads.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "base/file_map.h"
#include "base/result.h"
#include "formats/dtype.h"
#include "model/config.h"

namespace carat {

// Norms are always the multiplier itself: GGUF files hold 1 + w already, for safetensors the loader sets norm_plus_one
// and whoever reads a norm adds the 1 in float32.
struct LayerWeights {
  TensorView attn_norm, q, k, v, q_norm, k_norm, attn_out, post_attn_norm;
  TensorView ffn_norm, gate, up, down, post_ffn_norm;
  // attn_norm, post_attn_norm, ffn_norm, post_ffn_norm: [D]   q_norm, k_norm: [E]
  // q: [H*E, D]   k, v: [K*E, D]   attn_out: [D, H*E]   gate, up: [F, D]   down: [D, F]
};

struct Weights {
  TensorView embedding;  // [V or more, D]; also the head, unless `head` is there
  TensorView head;  // [V or more, D]; rows == 0 where it is tied to the embedding (always so for Gemma 3 as released)
  TensorView final_norm;  // [D]
  std::vector<LayerWeights> layers;
  bool norm_plus_one = false;
  FileMaps maps;  // where the views lie in mapped files: pages that were packed may be let go (release_pages)

  const TensorView& head_or_embedding() const { return head.rows != 0 ? head : embedding; }
};

// A weight that is NaN or infinity means a damaged file: "blk.3.ffn_down.weight, row 17: a scale is not finite".
Error not_finite(const TensorView& tensor, int64_t row);
// The first `rows` rows. Reads them all: a backend that reads them anyway looks on its way.
Status check_finite(const TensorView& tensor, int64_t rows);
Status check_finite(const ModelConfig& config, const Weights& weights);
Status check_norms_finite(const Weights& weights);

// A norm's multipliers in float32 (adds the 1 where the file holds w).
std::vector<float> norm_multipliers(const Weights& weights, const TensorView& norm);

}  // namespace carat
