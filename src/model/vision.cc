#include "model/vision.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <map>
#include <string_view>

#include "formats/dequant.h"
#include "formats/gguf.h"
#include "model/weights.h"

namespace carat {
namespace {

struct LayerName {
  Affine VisionLayer::*slot;
  std::array<std::string_view, 3> names;  // by VisionNaming
};

constexpr std::array<LayerName, 8> kLayerNames{{
    {&VisionLayer::norm_1, {"layer_norm1", "ln1", "layer_norm1"}},
    {&VisionLayer::q, {"self_attn.q_proj", "attn_q", "attn_q"}},
    {&VisionLayer::k, {"self_attn.k_proj", "attn_k", "attn_k"}},
    {&VisionLayer::v, {"self_attn.v_proj", "attn_v", "attn_v"}},
    {&VisionLayer::out, {"self_attn.out_proj", "attn_out", "attn_output"}},
    {&VisionLayer::norm_2, {"layer_norm2", "ln2", "layer_norm2"}},
    {&VisionLayer::fc1, {"mlp.fc1", "ffn_up", "mlp.fc1"}},
    {&VisionLayer::fc2, {"mlp.fc2", "ffn_down", "mlp.fc2"}},
}};

constexpr std::array<std::string_view, 3> kPatch{"embeddings.patch_embedding", "v.patch_embd", "v.patch_embedding"};
constexpr std::array<std::string_view, 3> kPosition{"embeddings.position_embedding", "v.position_embd",
                                                    "v.position_embedding"};
constexpr std::array<std::string_view, 3> kPostNorm{"post_layernorm", "v.post_ln", "v.post_layernorm"};
constexpr std::array<std::string_view, 3> kSoftNorm{"mm_soft_emb_norm.weight", "mm.soft_emb_norm.weight",
                                                    "mm.mm_soft_emb_norm.weight"};
constexpr std::array<std::string_view, 3> kProjection{"mm_input_projection_weight", "mm.input_projection.weight",
                                                      "mm.mm_input_projection.weight"};

// As released, and as transformers 5 saves them.
constexpr std::array<std::string_view, 4> kTowerPrefixes{"vision_tower.vision_model.", "vision_tower.",
                                                         "model.vision_tower.vision_model.", "model.vision_tower."};
constexpr std::array<std::string_view, 2> kProjectorPrefixes{"multi_modal_projector.", "model.multi_modal_projector."};

class Finder {
 public:
  Finder(std::span<const TensorView> tensors, VisionNaming naming, const std::string& file)
      : naming_(static_cast<size_t>(naming)), file_(file) {
    for (const TensorView& tensor : tensors) by_name_.emplace(tensor.name, &tensor);
    if (naming != VisionNaming::kHuggingFace) return;
    for (const std::string_view prefix : kTowerPrefixes) {
      if (has(fmt::format("{}post_layernorm.weight", prefix))) {
        tower_ = prefix;
        break;
      }
    }
    for (const std::string_view prefix : kProjectorPrefixes) {
      if (has(fmt::format("{}{}", prefix, kProjection[0]))) projector_ = prefix;
    }
  }

  std::string tower(const std::array<std::string_view, 3>& names) const { return tower_ + std::string(names[naming_]); }
  std::string projector(const std::array<std::string_view, 3>& names) const {
    return projector_ + std::string(names[naming_]);
  }
  std::string layer(int32_t index, const LayerName& row) const {
    return naming_ == 0 ? fmt::format("{}encoder.layers.{}.{}", tower_, index, row.names[0])
                        : fmt::format("v.blk.{}.{}", index, row.names[naming_]);
  }

  const TensorView* find(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
  }
  bool has(const std::string& name) const { return find(name) != nullptr; }

  Status take(const std::string& name, int64_t rows, int64_t columns, TensorView& slot) const {
    const TensorView* tensor = find(name);
    if (tensor == nullptr) return fail(name, fmt::format("is missing, expected [{}, {}]", rows, columns));
    if (tensor->rows != rows || tensor->columns != columns) {
      return fail(name, fmt::format("is [{}, {}], expected [{}, {}]", tensor->rows, tensor->columns, rows, columns));
    }
    if (rows == 1 && is_quantised(tensor->type)) {
      return fail(name, fmt::format("is {}, expected f32, f16 or bf16", dtype_info(tensor->type).name));
    }
    slot = *tensor;
    return {};
  }

  Status take(const std::string& name, int64_t rows, int64_t columns, Affine& slot) const {
    CARAT_CHECK(take(name + ".weight", rows, columns, slot.weight));
    return take(name + ".bias", 1, rows == 1 ? columns : rows, slot.bias);
  }

  Error fail(const std::string& name, const std::string& what) const {
    return {ErrorCode::kCorruptFile, fmt::format("{}: tensor {} {}", file_, printable(name), what)};
  }

 private:
  size_t naming_;
  const std::string& file_;
  std::string tower_, projector_;
  std::map<std::string_view, const TensorView*> by_name_;
};

// A convolution whose stride is its kernel is a matrix: [C, 3 * P * P], whatever shape the file gives it.
Status take_patches(const Finder& finder, const VisionConfig& config, Affine& slot) {
  const std::string name = finder.tower(kPatch);
  const TensorView* tensor = finder.find(name + ".weight");
  const int64_t wanted = int64_t{config.width} * config.patch_columns();
  if (tensor == nullptr) return finder.fail(name + ".weight", "is missing");
  if (tensor->elements() != wanted || is_quantised(tensor->type)) {
    return finder.fail(name + ".weight", fmt::format("has {} elements of {}, expected {} of f32, f16 or bf16",
                                                     tensor->elements(), dtype_info(tensor->type).name, wanted));
  }
  slot.weight = *tensor;
  slot.weight.rows = config.width;
  slot.weight.columns = config.patch_columns();
  return finder.take(name + ".bias", 1, config.width, slot.bias);
}

}  // namespace

int32_t VisionConfig::token_side() const { return static_cast<int32_t>(std::lround(std::sqrt(tokens))); }

Status validate(const VisionConfig& c, const std::string& file) {
  const struct {
    const char* name;
    int64_t value, least, most;
  } ranges[] = {{"layers", c.layers, 1, 256},           {"width", c.width, 16, 16384},
                {"ffn width", c.ffn_width, 16, 65536},  {"heads", c.heads, 1, 256},
                {"image size", c.image_size, 14, 4096}, {"patch size", c.patch_size, 1, 128},
                {"tokens", c.tokens, 1, 4096},          {"text width", c.text_width, 1, 65536}};
  for (const auto& [name, value, least, most] : ranges) {
    if (value < least || value > most) {
      return Error{ErrorCode::kCorruptFile,
                   fmt::format("{}: the vision tower's {} is {}, expected {} to {}", file, name, value, least, most)};
    }
  }
  const auto wrong = [&](const std::string& what) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: the vision tower's {}", file, what)};
  };
  if (c.width % c.heads != 0) return wrong(fmt::format("width {} is not whole heads of {}", c.width, c.heads));
  if (c.image_size % c.patch_size != 0) {
    return wrong(fmt::format("image size {} is not whole patches of {}", c.image_size, c.patch_size));
  }
  const int32_t side = c.token_side();
  if (side * side != c.tokens || c.side() % side != 0) {
    return wrong(fmt::format("{} tokens are no even grid of {} x {} patches", c.tokens, c.side(), c.side()));
  }
  if (!(c.norm_epsilon > 0 && c.norm_epsilon < 1)) return wrong("norm epsilon is out of range");
  return {};
}

Result<VisionWeights> bind_vision_tensors(const VisionConfig& config, std::span<const TensorView> tensors,
                                          VisionNaming naming, const std::string& file) {
  const Finder finder(tensors, naming, file);
  VisionWeights weights;
  weights.norm_plus_one = naming == VisionNaming::kHuggingFace;
  CARAT_CHECK(take_patches(finder, config, weights.patch));
  CARAT_CHECK(finder.take(finder.tower(kPosition) + ".weight", config.patches(), config.width, weights.position));
  weights.layers.resize(static_cast<size_t>(config.layers));
  // Old mmproj files have the names of the two matrices of the ffn the other way round.
  const std::string up = "v.blk.0.ffn_up.weight";
  const bool swapped = naming == VisionNaming::kMmproj && finder.has(up) && config.width != config.ffn_width &&
                       finder.find(up)->columns == config.ffn_width;
  for (int32_t i = 0; i < config.layers; ++i) {
    VisionLayer& layer = weights.layers[static_cast<size_t>(i)];
    for (const LayerName& row : kLayerNames) {
      const bool norm = row.slot == &VisionLayer::norm_1 || row.slot == &VisionLayer::norm_2;
      const bool fc1 = row.slot == &VisionLayer::fc1, fc2 = row.slot == &VisionLayer::fc2;
      const LayerName& named = swapped && fc1 ? kLayerNames[7] : swapped && fc2 ? kLayerNames[6] : row;
      const int64_t rows = norm ? 1 : fc1 ? config.ffn_width : config.width;
      CARAT_CHECK(finder.take(finder.layer(i, named), rows, fc2 ? config.ffn_width : config.width, layer.*row.slot));
    }
  }
  CARAT_CHECK(finder.take(finder.tower(kPostNorm), 1, config.width, weights.post_norm));
  CARAT_CHECK(finder.take(finder.projector(kSoftNorm), 1, config.width, weights.soft_norm));
  // Hugging Face and llama.cpp have it as [C, D], Ollama as [D, C].
  const std::string projection = finder.projector(kProjection);
  const TensorView* found = finder.find(projection);
  if (found != nullptr && found->rows == config.width && found->columns != config.text_width &&
      found->rows != config.text_width) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: the vision tower is for a text model of width {}, and this "
                                                      "one has {}",
                                                      file, found->columns, config.text_width)};
  }
  const bool straight = naming == VisionNaming::kOllama;
  weights.projection_transposed =
      found == nullptr || config.width == config.text_width ? !straight : found->rows == config.width;
  const int64_t rows = weights.projection_transposed ? config.width : config.text_width;
  const int64_t columns = weights.projection_transposed ? config.text_width : config.width;
  CARAT_CHECK(finder.take(projection, rows, columns, weights.projection));
  return weights;
}

Status check_finite(const VisionWeights& weights) {
  std::vector<const Affine*> affines{&weights.patch, &weights.post_norm};
  for (const VisionLayer& layer : weights.layers) {
    for (const LayerName& row : kLayerNames) affines.push_back(&(layer.*row.slot));
  }
  std::vector<const TensorView*> tensors{&weights.position, &weights.soft_norm, &weights.projection};
  for (const Affine* affine : affines) tensors.insert(tensors.end(), {&affine->weight, &affine->bias});
  for (const TensorView* tensor : tensors) CARAT_CHECK(check_finite(*tensor, tensor->rows));
  return {};
}

std::vector<float> vector_values(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  for (int64_t row = 0; row < tensor.rows; ++row) {
    dequantize(tensor.type, tensor.row(row), values.data() + row * tensor.columns, tensor.columns);
  }
  return values;
}

std::vector<float> projection_values(const VisionTower& tower) {
  std::vector<float> values = vector_values(tower.weights.projection);
  if (!tower.weights.projection_transposed) return values;
  const auto width = static_cast<size_t>(tower.config.width), text = static_cast<size_t>(tower.config.text_width);
  std::vector<float> turned(values.size());
  for (size_t c = 0; c < width; ++c) {
    for (size_t d = 0; d < text; ++d) turned[d * width + c] = values[c * text + d];
  }
  return turned;
}

std::vector<float> soft_norm_values(const VisionTower& tower) {
  std::vector<float> values = vector_values(tower.weights.soft_norm);
  if (tower.weights.norm_plus_one) {
    for (float& value : values) value += 1.0f;
  }
  return values;
}

}  // namespace carat
