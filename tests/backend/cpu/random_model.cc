// Weights are scaled so that activations stay of order one through the layers.
#include "backend/cpu/random_model.h"

#include <cmath>

#include "formats/quantize.h"

namespace carat::test {

std::vector<float> normal_floats(std::mt19937& random, size_t count, float deviation) {
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> out(count);
  for (float& x : out) x = normal(random);
  return out;
}

RandomModel random_model(DType type, unsigned seed) {
  RandomModel model;
  ModelConfig& c = model.config;
  c.name = "random";
  c.layers = 6;
  c.width = 256;
  c.ffn_width = 512;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_size = 64;
  c.vocabulary = 512;
  c.context_length = 4096;
  c.window = 100;
  c.query_scale = 0.125f;
  c.rope_factor_global = 8;
  c.embedding_scale = 16;
  for (int i = 0; i < c.layers; ++i) c.is_global.push_back((i + 1) % 6 == 0);

  std::mt19937 random(seed);
  auto tensor = [&](DType as, int64_t rows, int64_t columns, float mean, float deviation) {
    std::vector<float> values = normal_floats(random, static_cast<size_t>(rows * columns), deviation);
    for (float& x : values) x += mean;
    auto bytes = std::make_unique<std::vector<std::byte>>(*dtype_bytes(as, values.size()));
    quantize(as, values.data(), bytes->data(), static_cast<int64_t>(values.size()));
    TensorView view{"random", as, rows, columns, *bytes};
    model.storage.push_back(std::move(bytes));
    return view;
  };
  auto matrix = [&](int64_t rows, int64_t columns) {
    return tensor(type, rows, columns, 0, 1.0f / std::sqrt(static_cast<float>(columns)));
  };
  auto norm = [&](int64_t count) { return tensor(DType::kF32, 1, count, 1, 0.1f); };
  const int64_t D = c.width;
  const int64_t HE = c.heads * c.head_size;
  const int64_t KE = c.kv_heads * c.head_size;
  Weights& w = model.weights;
  w.embedding = tensor(type, c.vocabulary, D, 0, 1.0f / 16);
  w.final_norm = norm(D);
  for (int i = 0; i < c.layers; ++i) {
    LayerWeights layer;
    layer.attn_norm = norm(D);
    layer.q = matrix(HE, D);
    layer.k = matrix(KE, D);
    layer.v = matrix(KE, D);
    layer.q_norm = norm(c.head_size);
    layer.k_norm = norm(c.head_size);
    layer.attn_out = matrix(D, HE);
    layer.post_attn_norm = norm(D);
    layer.ffn_norm = norm(D);
    layer.gate = matrix(c.ffn_width, D);
    layer.up = matrix(c.ffn_width, D);
    layer.down = matrix(D, c.ffn_width);
    layer.post_ffn_norm = norm(D);
    w.layers.push_back(layer);
  }
  return model;
}

}  // namespace carat::test
