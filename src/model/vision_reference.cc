#include "model/vision_reference.h"

#include <cmath>

#include "base/result.h"
#include "model/reference_ops.h"

namespace carat {
namespace {

size_t to_size(int64_t value) { return static_cast<size_t>(value); }

std::vector<float> affine(const Affine& layer, std::span<const float> x) {
  const size_t rows = x.size() / to_size(layer.weight.columns), out_columns = to_size(layer.weight.rows);
  std::vector<float> out(rows * out_columns);
  matmul_ref(layer.weight, layer.weight.rows, x, out);
  const std::vector<float> bias = vector_values(layer.bias);
  for (size_t i = 0; i < out.size(); ++i) out[i] += bias[i % out_columns];
  return out;
}

std::vector<float> layer_norm(const Affine& norm, std::span<const float> x, float epsilon) {
  const std::vector<float> weight = vector_values(norm.weight), bias = vector_values(norm.bias);
  const size_t n = weight.size();
  std::vector<float> out(x.size());
  for (size_t begin = 0; begin < x.size(); begin += n) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; ++i) sum += double{x[begin + i]};
    const double mean = sum / static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) squares += (double{x[begin + i]} - mean) * (double{x[begin + i]} - mean);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + double{epsilon});
    for (size_t i = 0; i < n; ++i) {
      out[begin + i] = static_cast<float>((double{x[begin + i]} - mean) * scale * double{weight[i]} + double{bias[i]});
    }
  }
  return out;
}

void add(std::vector<float>& x, std::span<const float> y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

// [patches][3 * P * P] in the order channel, y, x.
std::vector<float> patches_of(const VisionConfig& c, std::span<const float> pixels) {
  const size_t size = to_size(c.image_size), patch = to_size(c.patch_size), side = to_size(c.side());
  std::vector<float> rows;
  rows.reserve(pixels.size());
  for (size_t n = 0; n < side * side; ++n) {
    for (size_t channel = 0; channel < 3; ++channel) {
      for (size_t y = 0; y < patch; ++y) {
        const size_t begin = (channel * size + n / side * patch + y) * size + n % side * patch;
        rows.insert(rows.end(), pixels.begin() + static_cast<ptrdiff_t>(begin),
                    pixels.begin() + static_cast<ptrdiff_t>(begin + patch));
      }
    }
  }
  return rows;
}

// Every patch attends to every patch.
std::vector<float> attention(const VisionConfig& c, std::span<const float> q, std::span<const float> k,
                             std::span<const float> v) {
  const size_t width = to_size(c.width), size = to_size(c.head_size()), patches = to_size(c.patches());
  const double scale = 1 / std::sqrt(static_cast<double>(size));
  std::vector<float> out(q.size());
  std::vector<double> scores(patches);
  for (size_t t = 0; t < patches; ++t) {
    for (size_t head = 0; head < width; head += size) {
      for (size_t p = 0; p < patches; ++p) {
        double sum = 0;
        for (size_t i = 0; i < size; ++i) sum += double{q[t * width + head + i]} * double{k[p * width + head + i]};
        scores[p] = sum * scale;
      }
      softmax_ref(scores);
      for (size_t i = 0; i < size; ++i) {
        double sum = 0;
        for (size_t p = 0; p < patches; ++p) sum += scores[p] * double{v[p * width + head + i]};
        out[t * width + head + i] = static_cast<float>(sum);
      }
    }
  }
  return out;
}

// The mean of each square of patches: [tokens][C].
std::vector<float> pooled(const VisionConfig& c, std::span<const float> x) {
  const size_t width = to_size(c.width), side = to_size(c.side()), tokens = to_size(c.token_side());
  const size_t square = side / tokens;
  std::vector<float> out(tokens * tokens * width);
  for (size_t t = 0; t < tokens * tokens; ++t) {
    for (size_t i = 0; i < width; ++i) {
      double sum = 0;
      for (size_t p = 0; p < square * square; ++p) {
        const size_t y = t / tokens * square + p / square, column = t % tokens * square + p % square;
        sum += double{x[(y * side + column) * width + i]};
      }
      out[t * width + i] = static_cast<float>(sum / static_cast<double>(square * square));
    }
  }
  return out;
}

}  // namespace

VisionResult vision_ref(const VisionTower& tower, std::span<const float> pixels) {
  const VisionConfig& c = tower.config;
  const VisionWeights& w = tower.weights;
  CARAT_ASSERT(pixels.size() == c.pixels());
  std::vector<float> x = affine(w.patch, patches_of(c, pixels));
  add(x, vector_values(w.position));
  for (const VisionLayer& layer : w.layers) {
    const std::vector<float> a = layer_norm(layer.norm_1, x, c.norm_epsilon);
    add(x, affine(layer.out, attention(c, affine(layer.q, a), affine(layer.k, a), affine(layer.v, a))));
    std::vector<float> hidden = affine(layer.fc1, layer_norm(layer.norm_2, x, c.norm_epsilon));
    for (float& value : hidden) value = static_cast<float>(gelu_tanh_ref(value));
    add(x, affine(layer.fc2, hidden));
  }
  VisionResult result;
  result.hidden = layer_norm(w.post_norm, x, c.norm_epsilon);
  std::vector<float> tokens = pooled(c, result.hidden);
  rms_norm_ref(tokens, soft_norm_values(tower), 1e-6f);
  const std::vector<float> projection = projection_values(tower);
  const size_t width = to_size(c.width), text = to_size(c.text_width);
  for (size_t t = 0; t < to_size(c.tokens); ++t) {
    for (size_t d = 0; d < text; ++d) {
      double sum = 0;
      for (size_t i = 0; i < width; ++i) sum += double{tokens[t * width + i]} * double{projection[d * width + i]};
      result.features.push_back(static_cast<float>(sum));
    }
  }
  return result;
}

}  // namespace carat
