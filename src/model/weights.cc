#include "model/weights.h"

#include <fmt/core.h>

#include "formats/dequant.h"
#include "formats/finite.h"

namespace carat {

Error not_finite(const TensorView& tensor, int64_t row) {
  return {ErrorCode::kCorruptFile, fmt::format("{}, row {}: {} is not finite", tensor.name, row,
                                               is_quantised(tensor.type) ? "a scale" : "an element")};
}

Status check_finite(const TensorView& tensor, int64_t rows) {
  const int64_t bad = first_row_not_finite(tensor, 0, rows);
  return bad < 0 ? Status() : not_finite(tensor, bad);
}

Status check_norms_finite(const Weights& weights) {
  for (const LayerWeights& w : weights.layers) {
    for (const TensorView* norm :
         {&w.attn_norm, &w.q_norm, &w.k_norm, &w.post_attn_norm, &w.ffn_norm, &w.post_ffn_norm}) {
      CARAT_CHECK(check_finite(*norm, 1));
    }
  }
  return check_finite(weights.final_norm, 1);
}

Status check_finite(const ModelConfig& config, const Weights& weights) {
  CARAT_CHECK(check_norms_finite(weights));
  for (const LayerWeights& w : weights.layers) {
    for (const TensorView* matrix : {&w.q, &w.k, &w.v, &w.attn_out, &w.gate, &w.up, &w.down}) {
      CARAT_CHECK(check_finite(*matrix, matrix->rows));
    }
  }
  CARAT_CHECK(check_finite(weights.embedding, config.vocabulary));
  return weights.head.rows == 0 ? Status() : check_finite(weights.head, config.vocabulary);
}

std::vector<float> norm_multipliers(const Weights& weights, const TensorView& norm) {
  std::vector<float> multipliers(static_cast<size_t>(norm.columns));
  dequantize(norm.type, norm.row(0), multipliers.data(), norm.columns);
  if (weights.norm_plus_one) {
    for (float& value : multipliers) value += 1.0f;
  }
  return multipliers;
}

}  // namespace carat
