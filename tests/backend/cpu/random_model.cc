// Weights are scaled so that activations stay of order one through the layers.
#include "backend/cpu/random_model.h"

#include <cmath>

#include "formats/quantize.h"

namespace carat::test {

// Twelve uniform numbers make a nearly normal one, in integers: std::normal_distribution asks the libm, which is another
// one on another machine, and golden bits must not depend on it.
std::vector<float> normal_floats(std::mt19937& random, size_t count, float deviation) {
  std::vector<float> out(count);
  for (float& x : out) {
    int32_t sum = 0;
    for (int i = 0; i < 6; ++i) {
      const auto bits = static_cast<uint32_t>(random());
      sum += static_cast<int32_t>(bits & 0xffff) + static_cast<int32_t>(bits >> 16);
    }
    x = static_cast<float>(sum - 6 * 0xffff) * 0x1p-16f * deviation;
  }
  return out;
}

RandomModel random_model(DType type, unsigned seed, int32_t ffn_width, int32_t vocabulary, int32_t head_size) {
  ModelConfig c;
  c.name = "random";
  c.layers = 6;
  c.width = 256;
  c.ffn_width = ffn_width;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_size = head_size;
  c.vocabulary = vocabulary;
  c.context_length = 4096;
  c.window = 100;
  c.query_scale = 0.125f;
  c.rope_factor_global = 8;
  c.embedding_scale = 16;
  for (int i = 0; i < c.layers; ++i) c.is_global.push_back((i + 1) % 6 == 0);
  return random_weights(c, type, seed);
}

RandomModel random_weights(const ModelConfig& config, DType type, unsigned seed) {
  RandomModel model;
  model.config = config;
  const ModelConfig& c = model.config;
  std::mt19937 random(seed);
  std::string prefix;  // of the layer
  auto tensor = [&](const char* name, DType as, int64_t rows, int64_t columns, float mean, float deviation) {
    std::vector<float> values = normal_floats(random, static_cast<size_t>(rows * columns), deviation);
    for (float& x : values) x += mean;
    auto bytes = std::make_unique<std::vector<std::byte>>(*dtype_bytes(as, values.size()));
    quantize(as, values.data(), bytes->data(), static_cast<int64_t>(values.size()));
    TensorView view{prefix + name + ".weight", as, rows, columns, *bytes};
    model.storage.push_back(std::move(bytes));
    return view;
  };
  auto matrix = [&](const char* name, int64_t rows, int64_t columns) {
    return tensor(name, type, rows, columns, 0, 1.0f / std::sqrt(static_cast<float>(columns)));
  };
  auto norm = [&](const char* name, int64_t count) { return tensor(name, DType::kF32, 1, count, 1, 0.1f); };
  const int64_t D = c.width;
  const int64_t HE = c.heads * c.head_size;
  const int64_t KE = c.kv_heads * c.head_size;
  Weights& w = model.weights;
  w.embedding = tensor("token_embd", type, c.vocabulary, D, 0, 1.0f / 16);
  w.final_norm = norm("output_norm", D);
  for (int i = 0; i < c.layers; ++i) {
    LayerWeights layer;
    prefix = "blk." + std::to_string(i) + ".";
    layer.attn_norm = norm("attn_norm", D);
    layer.q = matrix("attn_q", HE, D);
    layer.k = matrix("attn_k", KE, D);
    layer.v = matrix("attn_v", KE, D);
    layer.q_norm = norm("attn_q_norm", c.head_size);
    layer.k_norm = norm("attn_k_norm", c.head_size);
    layer.attn_out = matrix("attn_output", D, HE);
    layer.post_attn_norm = norm("post_attention_norm", D);
    layer.ffn_norm = norm("ffn_norm", D);
    layer.gate = matrix("ffn_gate", c.ffn_width, D);
    layer.up = matrix("ffn_up", c.ffn_width, D);
    layer.down = matrix("ffn_down", D, c.ffn_width);
    layer.post_ffn_norm = norm("post_ffw_norm", D);
    w.layers.push_back(layer);
  }
  return model;
}

}  // namespace carat::test
