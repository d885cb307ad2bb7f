// The oracle: Gemma 3's text forward as the paper reads, one naive loop per operation (reference_ops.h), float32
// between operations. It is anchored to Hugging Face by tests/golden, and every backend is measured against it. Slow by
// design: about a second a token on the 270M.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/step.h"
#include "model/weights.h"

namespace carat {

// Where a forward keeps the keys (rotated) and values of one sequence: K * E floats per layer and position.
class ReferenceKv {
 public:
  virtual ~ReferenceKv() = default;
  virtual std::span<float> key(int32_t layer, int32_t position) = 0;
  virtual std::span<float> value(int32_t layer, int32_t position) = 0;
};

// Every position of every layer, growing as it is used.
class GrowingKv : public ReferenceKv {
 public:
  explicit GrowingKv(const ModelConfig& config);
  std::span<float> key(int32_t layer, int32_t position) override;
  std::span<float> value(int32_t layer, int32_t position) override;

 private:
  size_t row_;
  std::vector<std::vector<float>> keys_, values_;  // [layer][position][K * E]
};

class ReferenceForward {
 public:
  // What a stage computed, called as it ends. layer is -1 for kEmbed and kLogits. The values:
  //   kEmbed [T][D] scaled embeddings                   kQkv [T][H+2K][E] normed, rotated q and k, then v
  //   kAttn [T][H*E] heads before the output product    kAttnOut [T][D] the residual stream after attention
  //   kGateUp [T][F] gelu(gate) * up                    kDown [T][D] the residual stream after the layer
  //   kLogits [L][V]
  using Tap = std::function<void(Stage stage, int32_t layer, std::span<const float> values)>;

  // The tensors' maps must outlive this.
  ReferenceForward(const ModelConfig& config, const Weights& weights);

  void set_tap(Tap tap) { tap_ = std::move(tap); }

  // Runs `tokens` at positions past, past + 1, ... of the sequence that `kv` holds, and returns the logits [L][V] of
  // `logits_rows` (ascending indices into tokens).
  std::vector<float> forward(std::span<const int32_t> tokens, int32_t past, std::span<const int32_t> logits_rows,
                             ReferenceKv& kv) const;

 private:
  struct LayerNorms {  // multipliers in float32
    std::vector<float> attn, q, k, post_attn, ffn, post_ffn;
  };

  std::vector<float> embed(std::span<const int32_t> tokens) const;
  void attention_block(int32_t layer, int32_t past, std::vector<float>& x, ReferenceKv& kv) const;
  void attend(int32_t layer, int32_t position, std::span<const float> q, std::span<float> out, ReferenceKv& kv) const;
  void feed_forward_block(int32_t layer, std::vector<float>& x) const;
  void tap(Stage stage, int32_t layer, std::span<const float> values) const;

  ModelConfig config_;
  Weights weights_;
  std::vector<LayerNorms> norms_;
  std::vector<float> final_norm_;
  Tap tap_;
};

}  // namespace carat
