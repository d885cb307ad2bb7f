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

// The rows of one sequence at positions past, past + 1, ...
struct ReferenceRows {
  std::span<const Row> rows;  // [T]; none from a slot
  int32_t past = 0;
  std::span<const float> embeddings;  // [N][D], what kImageRow names
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

  // The hidden states [T][D] after the final norm; keys and values go into `kv`, which holds what came before.
  std::vector<float> hidden(const ReferenceRows& rows, ReferenceKv& kv) const;
  // hidden: [L][D] -> [L][V]
  std::vector<float> logits(std::span<const float> hidden) const;

  // Both, for texts: the logits [L][V] of `logits_rows` (ascending indices into tokens).
  std::vector<float> forward(std::span<const int32_t> tokens, int32_t past, std::span<const int32_t> logits_rows,
                             ReferenceKv& kv) const;

 private:
  struct LayerNorms {  // multipliers in float32
    std::vector<float> attn, q, k, post_attn, ffn, post_ffn;
  };

  std::vector<float> embed(const ReferenceRows& rows) const;
  void attention_block(int32_t layer, const ReferenceRows& rows, std::vector<float>& x, ReferenceKv& kv) const;
  void attend(int32_t layer, int32_t position, int32_t sees_until, std::span<const float> q, std::span<float> out,
              ReferenceKv& kv) const;
  void feed_forward_block(int32_t layer, std::vector<float>& x) const;
  void tap(Stage stage, int32_t layer, std::span<const float> values) const;

  ModelConfig config_;
  Weights weights_;
  std::vector<LayerNorms> norms_;
  std::vector<float> final_norm_;
  Tap tap_;
};

}  // namespace carat
