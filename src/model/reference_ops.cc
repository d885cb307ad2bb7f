#include "model/reference_ops.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "base/result.h"
#include "formats/dequant.h"

namespace carat {

void matmul_ref(const TensorView& weight, int64_t rows, std::span<const float> x, std::span<float> out) {
  const auto columns = static_cast<size_t>(weight.columns);
  const size_t batch = x.size() / columns;
  CARAT_ASSERT(rows <= weight.rows && out.size() == batch * static_cast<size_t>(rows));
  std::vector<float> weight_row(columns);
  for (int64_t r = 0; r < rows; ++r) {
    dequantize(weight.type, weight.row(r), weight_row.data(), weight.columns);
    for (size_t t = 0; t < batch; ++t) {
      double sum = 0;
      for (size_t i = 0; i < columns; ++i) sum += double{weight_row[i]} * double{x[t * columns + i]};
      out[t * static_cast<size_t>(rows) + static_cast<size_t>(r)] = static_cast<float>(sum);
    }
  }
}

void rms_norm_ref(std::span<float> x, std::span<const float> multiplier, float epsilon) {
  const size_t n = multiplier.size();
  CARAT_ASSERT(x.size() % n == 0);
  for (size_t begin = 0; begin < x.size(); begin += n) {
    double squares = 0;
    for (size_t i = 0; i < n; ++i) squares += double{x[begin + i]} * double{x[begin + i]};
    const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + double{epsilon});
    for (size_t i = 0; i < n; ++i)
      x[begin + i] = static_cast<float>(double{x[begin + i]} * scale * double{multiplier[i]});
  }
}

void rope_ref(std::span<float> row, int32_t head_size, int32_t position, float base, float factor) {
  const auto size = static_cast<size_t>(head_size);
  const size_t half = size / 2;
  CARAT_ASSERT(row.size() % size == 0);
  for (size_t j = 0; j < half; ++j) {
    const double frequency = std::pow(double{base}, -static_cast<double>(j) / static_cast<double>(half));
    const double angle = static_cast<double>(position) / double{factor} * frequency;
    const double cosine = std::cos(angle), sine = std::sin(angle);
    for (size_t head = 0; head < row.size(); head += size) {
      const double low = row[head + j], high = row[head + j + half];
      row[head + j] = static_cast<float>(low * cosine - high * sine);
      row[head + j + half] = static_cast<float>(high * cosine + low * sine);
    }
  }
}

void softmax_ref(std::span<double> scores) {
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (double& score : scores) score /= sum;
}

double gelu_tanh_ref(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 * std::numbers::inv_pi) * (x + 0.044715 * x * x * x)));
}

}  // namespace carat
