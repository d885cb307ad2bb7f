#include "backend/cpu/cpu_weights.h"

#include <fmt/core.h>

#include "backend/cpu/pack_matrix.h"
#include "base/checked.h"

namespace carat::cpu {

ModelPack CpuWeights::shape_of(const ModelConfig& config) {
  ModelPack model{};
  model.layers = config.layers;
  model.width = config.width;
  model.ffn_width = config.ffn_width;
  model.heads = config.heads;
  model.kv_heads = config.kv_heads;
  model.head_size = config.head_size;
  model.vocabulary = config.vocabulary;
  model.window = config.window;
  model.norm_epsilon = config.norm_epsilon;
  model.query_scale = config.query_scale;
  model.embedding_scale = config.embedding_scale;
  return model;
}

Result<uint64_t> CpuWeights::packed_bytes(const ModelConfig& config, const Weights& weights) {
  uint64_t bytes = 0;
  const auto add = [&](const TensorView& tensor, int64_t rows) -> Status {
    CARAT_TRY(const PackedMatrix matrix, describe_packed(tensor, rows));
    bytes += round_up<size_t>(matrix.bytes(), 64);
    return {};
  };
  for (const LayerWeights& layer : weights.layers) {
    for (const TensorView* tensor :
         {&layer.q, &layer.k, &layer.v, &layer.attn_out, &layer.gate, &layer.up, &layer.down}) {
      CARAT_CHECK(add(*tensor, tensor->rows));
    }
  }
  CARAT_CHECK(add(weights.embedding, config.vocabulary));
  if (weights.head.rows != 0) CARAT_CHECK(add(weights.head, config.vocabulary));
  return bytes;
}

Result<CpuWeights> CpuWeights::pack(const ModelConfig& config, const Weights& weights, const Kernels& kernels,
                                    Team& team) {
  struct Multiple {
    const char* name;
    int32_t value, of;
  };
  for (const Multiple& m : {Multiple{"width", config.width, 16}, Multiple{"ffn width", config.ffn_width, 16},
                            Multiple{"head size", config.head_size, 32}}) {
    if (m.value % m.of != 0) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{} is {}; the CPU backend takes multiples of {}", m.name, m.value, m.of)};
    }
  }
  if (config.heads / config.kv_heads > kTileRows) {
    return Error{ErrorCode::kUnsupported, fmt::format("{} query heads share a key head; the CPU backend takes {}",
                                                      config.heads / config.kv_heads, kTileRows)};
  }

  CARAT_CHECK(check_norms_finite(weights));
  CpuWeights out;
  out.model = shape_of(config);
  out.layers.resize(weights.layers.size());
  std::vector<PackJob> jobs;
  auto add = [&](const TensorView& tensor, PackedMatrix& matrix, int64_t rows) -> Status {
    CARAT_TRY(matrix, describe_packed(tensor, rows));
    jobs.push_back({&tensor, &matrix});
    return {};
  };
  auto norm = [&](const TensorView& tensor) {
    out.norms_.push_back(norm_multipliers(weights, tensor));
    return out.norms_.back().data();
  };
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    const LayerWeights& from = weights.layers[i];
    LayerPack& to = out.layers[i];
    CARAT_CHECK(add(from.q, to.q, from.q.rows));
    CARAT_CHECK(add(from.k, to.k, from.k.rows));
    CARAT_CHECK(add(from.v, to.v, from.v.rows));
    CARAT_CHECK(add(from.attn_out, to.attn_out, from.attn_out.rows));
    CARAT_CHECK(add(from.gate, to.gate, from.gate.rows));
    CARAT_CHECK(add(from.up, to.up, from.up.rows));
    CARAT_CHECK(add(from.down, to.down, from.down.rows));
    to.attn_norm = norm(from.attn_norm);
    to.q_norm = norm(from.q_norm);
    to.k_norm = norm(from.k_norm);
    to.post_attn_norm = norm(from.post_attn_norm);
    to.ffn_norm = norm(from.ffn_norm);
    to.post_ffn_norm = norm(from.post_ffn_norm);
    to.kind = config.is_global[i] ? kGlobal : kSliding;
  }
  const bool tied = weights.head.rows == 0;
  CARAT_CHECK(add(weights.embedding, out.model.embedding, config.vocabulary));
  if (!tied) CARAT_CHECK(add(weights.head, out.model.head, config.vocabulary));

  size_t bytes = 0;
  for (const PackJob& job : jobs) bytes += round_up<size_t>(job.matrix->bytes(), 64);
  CARAT_TRY(out.arena_, Arena::allocate(bytes, "the weights"));
  size_t offset = 0;
  for (const PackJob& job : jobs) {
    job.matrix->data = out.arena_.data() + offset;
    offset += round_up<size_t>(job.matrix->bytes(), 64);
  }
  CARAT_CHECK(pack_matrices(kernels, team, jobs, weights.maps != nullptr));
  if (tied) out.model.head = out.model.embedding;
  out.bytes = offset;
  const auto reads = [&](Stage stage, const PackedMatrix& matrix) {
    out.stage_bytes[static_cast<size_t>(stage)] += matrix.bytes();
  };
  for (const LayerPack& layer : out.layers) {
    for (const PackedMatrix* matrix : {&layer.q, &layer.k, &layer.v}) reads(Stage::kQkv, *matrix);
    reads(Stage::kAttnOut, layer.attn_out);
    for (const PackedMatrix* matrix : {&layer.gate, &layer.up}) reads(Stage::kGateUp, *matrix);
    reads(Stage::kDown, layer.down);
  }
  reads(Stage::kLogits, out.model.head);
  out.decode_bytes = tied ? offset : offset - out.model.embedding.bytes();

  out.model.final_norm = norm(weights.final_norm);
  out.model.layer = out.layers.data();
  return out;
}

}  // namespace carat::cpu
