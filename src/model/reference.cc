#include "model/reference.h"

#include <algorithm>

#include "base/result.h"
#include "formats/dequant.h"
#include "model/reference_ops.h"

namespace carat {
namespace {

size_t to_size(int64_t value) { return static_cast<size_t>(value); }

// weight * x for every row of x.   x: [T][weight.columns] -> [T][weight.rows]
std::vector<float> product(const TensorView& weight, std::span<const float> x) {
  std::vector<float> out(x.size() / to_size(weight.columns) * to_size(weight.rows));
  matmul_ref(weight, weight.rows, x, out);
  return out;
}

std::vector<float> normed(std::vector<float> x, std::span<const float> multiplier, float epsilon) {
  rms_norm_ref(x, multiplier, epsilon);
  return x;
}

void add(std::vector<float>& x, std::span<const float> y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

}  // namespace

GrowingKv::GrowingKv(const ModelConfig& config)
    : row_(to_size(config.kv_heads) * to_size(config.head_size)),
      keys_(to_size(config.layers)),
      values_(to_size(config.layers)) {}

namespace {

std::span<float> grown_row(std::vector<float>& rows, int32_t position, size_t row) {
  const size_t begin = to_size(position) * row;
  if (rows.size() < begin + row) rows.resize(begin + row);
  return std::span(rows).subspan(begin, row);
}

}  // namespace

std::span<float> GrowingKv::key(int32_t layer, int32_t position) {
  return grown_row(keys_[to_size(layer)], position, row_);
}

std::span<float> GrowingKv::value(int32_t layer, int32_t position) {
  return grown_row(values_[to_size(layer)], position, row_);
}

ReferenceForward::ReferenceForward(const ModelConfig& config, const Weights& weights)
    : config_(config), weights_(weights), final_norm_(norm_multipliers(weights, weights.final_norm)) {
  for (const LayerWeights& layer : weights.layers) {
    norms_.push_back({norm_multipliers(weights, layer.attn_norm), norm_multipliers(weights, layer.q_norm),
                      norm_multipliers(weights, layer.k_norm), norm_multipliers(weights, layer.post_attn_norm),
                      norm_multipliers(weights, layer.ffn_norm), norm_multipliers(weights, layer.post_ffn_norm)});
  }
}

void ReferenceForward::tap(Stage stage, int32_t layer, std::span<const float> values) const {
  if (tap_) tap_(stage, layer, values);
}

std::vector<float> ReferenceForward::hidden(const ReferenceRows& rows, ReferenceKv& kv) const {
  std::vector<float> x = embed(rows);
  for (int32_t layer = 0; layer < config_.layers; ++layer) {
    attention_block(layer, rows, x, kv);
    feed_forward_block(layer, x);
  }
  rms_norm_ref(x, final_norm_, config_.norm_epsilon);
  return x;
}

std::vector<float> ReferenceForward::logits(std::span<const float> hidden) const {
  std::vector<float> logits(hidden.size() / to_size(config_.width) * to_size(config_.vocabulary));
  matmul_ref(weights_.head_or_embedding(), config_.vocabulary, hidden, logits);
  tap(Stage::kLogits, -1, logits);
  return logits;
}

std::vector<float> ReferenceForward::forward(std::span<const int32_t> tokens, int32_t past,
                                             std::span<const int32_t> logits_rows, ReferenceKv& kv) const {
  std::vector<Row> rows;
  for (const int32_t token : tokens) rows.push_back({token, past + static_cast<int32_t>(rows.size())});
  const std::vector<float> x = hidden({rows, past, {}}, kv);
  const size_t width = to_size(config_.width);
  std::vector<float> wanted;
  for (const int32_t row : logits_rows) {
    const std::span<const float> values = std::span(x).subspan(to_size(row) * width, width);
    wanted.insert(wanted.end(), values.begin(), values.end());
  }
  return logits(wanted);
}

std::vector<float> ReferenceForward::embed(const ReferenceRows& rows) const {
  const size_t width = to_size(config_.width);
  std::vector<float> x(rows.rows.size() * width);
  for (size_t t = 0; t < rows.rows.size(); ++t) {
    const std::span<float> row = std::span(x).subspan(t * width, width);
    const int32_t token = rows.rows[t].token;
    if ((token & kImageRow) != 0) {
      const auto from = rows.embeddings.subspan(to_size(token - kImageRow) * width, width);
      std::copy(from.begin(), from.end(), row.begin());
      continue;
    }
    dequantize(weights_.embedding.type, weights_.embedding.row(token), row.data(), config_.width);
    for (float& value : row) value *= config_.embedding_scale;
  }
  tap(Stage::kEmbed, -1, x);
  return x;
}

void ReferenceForward::attention_block(int32_t layer, const ReferenceRows& input, std::vector<float>& x,
                                       ReferenceKv& kv) const {
  const LayerWeights& w = weights_.layers[to_size(layer)];
  const LayerNorms& norm = norms_[to_size(layer)];
  const bool is_global = config_.is_global[to_size(layer)];
  const float base = is_global ? config_.rope_base_global : config_.rope_base_local;
  const float factor = is_global ? config_.rope_factor_global : 1.0f;
  const size_t q_row = to_size(config_.heads) * to_size(config_.head_size);
  const size_t kv_row = to_size(config_.kv_heads) * to_size(config_.head_size);
  const size_t rows = x.size() / to_size(config_.width);

  const std::vector<float> a = normed(x, norm.attn, config_.norm_epsilon);
  std::vector<float> q = normed(product(w.q, a), norm.q, config_.norm_epsilon);
  std::vector<float> k = normed(product(w.k, a), norm.k, config_.norm_epsilon);
  const std::vector<float> v = product(w.v, a);
  std::vector<float> qkv;
  for (size_t t = 0; t < rows; ++t) {
    const int32_t position = input.past + static_cast<int32_t>(t);
    const std::span<float> q_t = std::span(q).subspan(t * q_row, q_row);
    const std::span<float> k_t = std::span(k).subspan(t * kv_row, kv_row);
    const std::span<const float> v_t = std::span(v).subspan(t * kv_row, kv_row);
    rope_ref(q_t, config_.head_size, position, base, factor);
    rope_ref(k_t, config_.head_size, position, base, factor);
    std::copy(k_t.begin(), k_t.end(), kv.key(layer, position).begin());
    std::copy(v_t.begin(), v_t.end(), kv.value(layer, position).begin());
    qkv.insert(qkv.end(), q_t.begin(), q_t.end());
    qkv.insert(qkv.end(), k_t.begin(), k_t.end());
    qkv.insert(qkv.end(), v_t.begin(), v_t.end());
  }
  tap(Stage::kQkv, layer, qkv);

  std::vector<float> heads(rows * q_row);
  for (size_t t = 0; t < rows; ++t) {
    attend(layer, input.past + static_cast<int32_t>(t), input.rows[t].sees_until,
           std::span(q).subspan(t * q_row, q_row), std::span(heads).subspan(t * q_row, q_row), kv);
  }
  tap(Stage::kAttn, layer, heads);
  add(x, normed(product(w.attn_out, heads), norm.post_attn, config_.norm_epsilon));
  tap(Stage::kAttnOut, layer, x);
}

// One row: it sees positions up to `sees_until`, on sliding layers only from the W-th last on, itself counted.
void ReferenceForward::attend(int32_t layer, int32_t position, int32_t sees_until, std::span<const float> q,
                              std::span<float> out, ReferenceKv& kv) const {
  const size_t size = to_size(config_.head_size);
  const int32_t first = config_.is_global[to_size(layer)] ? 0 : std::max(0, position - config_.window + 1);
  const int32_t group = config_.heads / config_.kv_heads;
  for (int32_t head = 0; head < config_.heads; ++head) {
    const size_t q_begin = to_size(head) * size, kv_begin = to_size(head / group) * size;
    std::vector<double> scores;
    for (int32_t p = first; p <= sees_until; ++p) {
      const std::span<const float> key = kv.key(layer, p).subspan(kv_begin, size);
      double sum = 0;
      for (size_t i = 0; i < size; ++i) sum += double{q[q_begin + i]} * double{key[i]};
      scores.push_back(sum * double{config_.query_scale});
    }
    softmax_ref(scores);
    std::vector<double> mix(size);
    for (int32_t p = first; p <= sees_until; ++p) {
      const std::span<const float> value = kv.value(layer, p).subspan(kv_begin, size);
      for (size_t i = 0; i < size; ++i) mix[i] += scores[to_size(p - first)] * double{value[i]};
    }
    for (size_t i = 0; i < size; ++i) out[q_begin + i] = static_cast<float>(mix[i]);
  }
}

void ReferenceForward::feed_forward_block(int32_t layer, std::vector<float>& x) const {
  const LayerWeights& w = weights_.layers[to_size(layer)];
  const LayerNorms& norm = norms_[to_size(layer)];
  const std::vector<float> f = normed(x, norm.ffn, config_.norm_epsilon);
  std::vector<float> hidden = product(w.gate, f);
  const std::vector<float> up = product(w.up, f);
  for (size_t i = 0; i < hidden.size(); ++i) hidden[i] = static_cast<float>(gelu_tanh_ref(hidden[i]) * double{up[i]});
  tap(Stage::kGateUp, layer, hidden);
  add(x, normed(product(w.down, hidden), norm.post_ffn, config_.norm_epsilon));
  tap(Stage::kDown, layer, x);
}

}  // namespace carat
