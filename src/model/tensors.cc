#include "model/tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "formats/gguf.h"

namespace carat {
namespace {

// A side of a matrix, in the letters of config.h.
enum class Side : uint8_t { kOne, kWidth, kFfn, kQuery, kKeyValue, kHead };

int64_t size_of(Side side, const ModelConfig& c) {
  switch (side) {
    case Side::kOne:
      return 1;
    case Side::kWidth:
      return c.width;
    case Side::kFfn:
      return c.ffn_width;
    case Side::kQuery:
      return int64_t{c.heads} * c.head_size;
    case Side::kKeyValue:
      return int64_t{c.kv_heads} * c.head_size;
    case Side::kHead:
      return c.head_size;
  }
  return 0;
}

struct LayerRow {
  TensorView LayerWeights::*slot;
  std::string_view gguf;          // blk.N.{}.weight
  std::string_view hugging_face;  // PREFIX layers.N.{}.weight
  Side rows, columns;
};

constexpr std::array<LayerRow, 13> kLayerTable{{
    {&LayerWeights::attn_norm, "attn_norm", "input_layernorm", Side::kOne, Side::kWidth},
    {&LayerWeights::q, "attn_q", "self_attn.q_proj", Side::kQuery, Side::kWidth},
    {&LayerWeights::k, "attn_k", "self_attn.k_proj", Side::kKeyValue, Side::kWidth},
    {&LayerWeights::v, "attn_v", "self_attn.v_proj", Side::kKeyValue, Side::kWidth},
    {&LayerWeights::q_norm, "attn_q_norm", "self_attn.q_norm", Side::kOne, Side::kHead},
    {&LayerWeights::k_norm, "attn_k_norm", "self_attn.k_norm", Side::kOne, Side::kHead},
    {&LayerWeights::attn_out, "attn_output", "self_attn.o_proj", Side::kWidth, Side::kQuery},
    {&LayerWeights::post_attn_norm, "post_attention_norm", "post_attention_layernorm", Side::kOne, Side::kWidth},
    {&LayerWeights::ffn_norm, "ffn_norm", "pre_feedforward_layernorm", Side::kOne, Side::kWidth},
    {&LayerWeights::gate, "ffn_gate", "mlp.gate_proj", Side::kFfn, Side::kWidth},
    {&LayerWeights::up, "ffn_up", "mlp.up_proj", Side::kFfn, Side::kWidth},
    {&LayerWeights::down, "ffn_down", "mlp.down_proj", Side::kWidth, Side::kFfn},
    {&LayerWeights::post_ffn_norm, "post_ffw_norm", "post_feedforward_layernorm", Side::kOne, Side::kWidth},
}};

// 270M and 1B; 4B and up as released; as transformers 5 saves them.
constexpr std::array<std::string_view, 3> kTextPrefixes{"model.", "language_model.model.", "model.language_model."};

constexpr std::array<std::string_view, 6> kVisionPrefixes{
    "v.", "mm.", "vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."};

// What old exporters wrote beside the weights: constants that every program computes itself.
constexpr std::array<std::string_view, 4> kHarmlessEndings{".rotary_emb.inv_freq", ".rotary_emb.original_inv_freq",
                                                           ".rotary_emb_local.inv_freq",
                                                           ".rotary_emb_local.original_inv_freq"};

// How one file spells the names.
struct Names {
  TensorNaming naming;
  std::string prefix;  // Hugging Face only

  std::string embedding() const {
    return naming == TensorNaming::kGguf ? "token_embd.weight" : prefix + "embed_tokens.weight";
  }
  std::string final_norm() const {
    return naming == TensorNaming::kGguf ? "output_norm.weight" : prefix + "norm.weight";
  }
  std::string head() const {
    if (naming == TensorNaming::kGguf) return "output.weight";
    return prefix == "language_model.model." ? "language_model.lm_head.weight" : "lm_head.weight";
  }
  std::string layer(int32_t index, const LayerRow& row) const {
    return naming == TensorNaming::kGguf ? fmt::format("blk.{}.{}.weight", index, row.gguf)
                                         : fmt::format("{}layers.{}.{}.weight", prefix, index, row.hugging_face);
  }
};

Names names_of(std::span<const TensorView> tensors, TensorNaming naming) {
  if (naming == TensorNaming::kGguf) return {naming, ""};
  for (const std::string_view prefix : kTextPrefixes) {
    const std::string wanted = std::string(prefix) + "embed_tokens.weight";
    const bool found =
        std::any_of(tensors.begin(), tensors.end(), [&](const TensorView& t) { return t.name == wanted; });
    if (found) return {naming, std::string(prefix)};
  }
  return {naming, std::string(kTextPrefixes[0])};
}

TensorSpec layer_spec(const ModelConfig& config, const Names& names, int32_t layer, const LayerRow& row) {
  return {names.layer(layer, row), size_of(row.rows, config), size_of(row.columns, config), layer,
          row.rows == Side::kOne};
}

// The tensors of one file by name; each is taken out once, and what is left over is an error.
class Binder {
 public:
  Binder(std::span<const TensorView> tensors, const std::string& file) : file_(file) {
    for (const TensorView& tensor : tensors) {
      if (is_skipped_tensor(tensor.name)) continue;
      if (!left_.emplace(tensor.name, &tensor).second) fail(tensor.name, "appears twice");
    }
  }

  bool has(const std::string& name) const { return left_.count(name) != 0; }

  // `more_rows`: the tensor may have more rows than the table says.
  void take(const TensorSpec& spec, TensorView& slot, bool more_rows = false) {
    const auto found = left_.find(spec.name);
    if (found == left_.end()) {
      return fail(spec.name, fmt::format("is missing, expected [{}, {}]", spec.rows, spec.columns));
    }
    const TensorView& tensor = *found->second;
    const bool rows_fit = more_rows ? tensor.rows >= spec.rows : tensor.rows == spec.rows;
    if (!rows_fit || tensor.columns != spec.columns) {
      return fail(spec.name, fmt::format("is [{}, {}], expected [{}{}, {}]", tensor.rows, tensor.columns, spec.rows,
                                         more_rows ? " or more" : "", spec.columns));
    }
    if (spec.is_norm && is_quantised(tensor.type)) {
      return fail(spec.name, fmt::format("is {}, expected f32, f16 or bf16 for a norm", dtype_info(tensor.type).name));
    }
    slot = tensor;
    left_.erase(found);
  }

  Status finish() {
    if (!left_.empty()) fail(std::string(left_.begin()->first), "is not a tensor of Gemma 3");
    return std::move(status_);
  }

 private:
  void fail(const std::string& name, const std::string& what) {
    if (!status_.ok()) return;
    status_ = Error{ErrorCode::kCorruptFile, fmt::format("{}: tensor {} {}", file_, printable(name), what)};
  }

  const std::string& file_;
  std::map<std::string_view, const TensorView*> left_;  // a tree: hostile names cannot make lookups slow
  Status status_;
};

}  // namespace

bool is_vision_tensor(std::string_view name) {
  return std::any_of(kVisionPrefixes.begin(), kVisionPrefixes.end(),
                     [&](std::string_view prefix) { return name.substr(0, prefix.size()) == prefix; });
}

bool is_skipped_tensor(std::string_view name) {
  return is_vision_tensor(name) || std::any_of(kHarmlessEndings.begin(), kHarmlessEndings.end(),
                                               [&](std::string_view ending) { return name.ends_with(ending); });
}

std::vector<TensorSpec> gguf_tensors(const ModelConfig& config) {
  const Names names{TensorNaming::kGguf, ""};
  std::vector<TensorSpec> specs{{names.embedding(), config.vocabulary, config.width, -1, false}};
  for (int32_t i = 0; i < config.layers; ++i) {
    for (const LayerRow& row : kLayerTable) specs.push_back(layer_spec(config, names, i, row));
  }
  specs.push_back({names.final_norm(), 1, config.width, -1, true});
  return specs;
}

Result<Weights> bind_tensors(const ModelConfig& config, std::span<const TensorView> tensors, TensorNaming naming,
                             const std::string& file) {
  const Names names = names_of(tensors, naming);
  Binder binder(tensors, file);
  Weights weights;
  weights.norm_plus_one = naming == TensorNaming::kHuggingFace;
  binder.take({names.embedding(), config.vocabulary, config.width, -1, false}, weights.embedding, true);
  binder.take({names.final_norm(), 1, config.width, -1, true}, weights.final_norm);
  if (binder.has(names.head())) {
    binder.take({names.head(), config.vocabulary, config.width, -1, false}, weights.head, true);
  }
  weights.layers.resize(static_cast<size_t>(config.layers));
  for (int32_t i = 0; i < config.layers; ++i) {
    for (const LayerRow& row : kLayerTable) {
      binder.take(layer_spec(config, names, i, row), weights.layers[static_cast<size_t>(i)].*row.slot);
    }
  }
  CARAT_CHECK(binder.finish());
  return weights;
}

const TensorView* find_embedding(std::span<const TensorView> tensors, TensorNaming naming) {
  const std::string name = names_of(tensors, naming).embedding();
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const TensorView& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

}  // namespace carat
