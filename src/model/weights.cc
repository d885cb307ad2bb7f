#include "model/weights.h"

#include "formats/dequant.h"

namespace carat {

std::vector<float> norm_multipliers(const Weights& weights, const TensorView& norm) {
  std::vector<float> multipliers(static_cast<size_t>(norm.columns));
  dequantize(norm.type, norm.row(0), multipliers.data(), norm.columns);
  if (weights.norm_plus_one) {
    for (float& value : multipliers) value += 1.0f;
  }
  return multipliers;
}

}  // namespace carat
