// What a model takes of a device's memory, before anything is allocated there.
#include <algorithm>

#include "backend/cuda/forward.h"
#include "backend/cuda/tile_format.h"

namespace carat::cuda {

MemoryNeed Forward::memory_need(const ModelConfig& config, const Weights& weights, int32_t max_rows) {
  MemoryNeed need;
  bool floats = false;
  const auto add = [&](const TensorView& tensor, int64_t rows) {
    if (rows == 0) return;
    need.weights += tile_matrix_bytes(static_cast<TileType>(tensor.type), rows, tensor.columns);
    floats = floats || !carat::is_quantised(tensor.type);
  };
  for (const LayerWeights& layer : weights.layers) {
    for (const TensorView* tensor :
         {&layer.q, &layer.k, &layer.v, &layer.attn_out, &layer.gate, &layer.up, &layer.down}) {
      add(*tensor, tensor->rows);
    }
  }
  add(weights.embedding, config.vocabulary);
  add(weights.head, weights.head.rows == 0 ? 0 : config.vocabulary);
  const auto E = static_cast<uint64_t>(config.head_size);
  const uint64_t page = 2 * static_cast<uint64_t>(config.kv_heads) * kPageTokens * E * sizeof(uint16_t);
  for (const bool global : config.is_global) (global ? need.global_page : need.local_page) += page;
  const uint64_t D = static_cast<uint64_t>(config.width), F = static_cast<uint64_t>(config.ffn_width);
  const uint64_t HE = static_cast<uint64_t>(config.heads) * E, KE = static_cast<uint64_t>(config.kv_heads) * E;
  const uint64_t V = static_cast<uint64_t>(config.vocabulary);
  // Of a row: hidden, projected, normed; q, k, v and what they attend to; gate and up, in whose place parts of attention's tiles leave their records
  // before (plan_tiles() keeps to it); angles; three rounded inputs.
  const uint64_t row = 4 * (3 * D + 2 * HE + 2 * KE + 2 * F + 2 * E) + (D + HE + F) * (floats ? 8 : 5);
  // decode_row's list of pieces: eight bytes for nine tiles, of 576 bytes at least.
  const uint64_t pieces = need.weights / (kPieceChunks * 576) * sizeof(uint64_t);
  need.activations =
      pieces + static_cast<uint64_t>(max_rows) * row + static_cast<uint64_t>(kLeastHeadRows) * V * sizeof(float);
  // What draws find, their pieces' sums, the head's rounded input; masks of a grammar for every row; and words that blocks tell
  // each other.
  constexpr uint64_t kWords = 4 << 20;
  const uint64_t found = kTopGroups * sizeof(uint32_t) + (kTopTaken + 8) * sizeof(uint64_t) +
                         2 * (V / kPieceLogits + 1) * sizeof(double) + D * (floats ? 8 : 3);
  need.activations +=
      static_cast<uint64_t>(kHeadRows) * found + static_cast<uint64_t>(kLeastHeadRows) * 2 * V / 8 + kWords;
  // Splits of rows that attend by themselves.
  const uint64_t splits = static_cast<uint64_t>(config.context_length) / kSplit + 2;
  const uint64_t of_row = static_cast<uint64_t>(config.heads) * (E + 2) * sizeof(float) * splits;
  need.activations += std::min<uint64_t>(kPartialBytes, 2 * static_cast<uint64_t>(max_rows) * of_row);
  need.logits_row = V * sizeof(float);
  return need;
}

}  // namespace carat::cuda
