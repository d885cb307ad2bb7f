#include "model/vision_synth.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>

#include "base/result.h"
#include "formats/gguf_writer.h"
#include "formats/random_blocks.h"

namespace carat {
namespace {

using Storage = std::vector<std::vector<std::byte>>;

class Maker {
 public:
  Maker(DType type, uint64_t seed, Storage& storage) : type_(type), seed_(seed), storage_(storage) {}

  TensorView tensor(DType type, int64_t rows, int64_t columns, float deviation) {
    const auto bytes = dtype_bytes(type, static_cast<uint64_t>(rows * columns));
    CARAT_ASSERT(bytes.has_value());
    std::vector<std::byte>& data = storage_.emplace_back(*bytes);
    random_blocks(type, deviation, ++seed_, data);
    return {"random", type, rows, columns, data};
  }

  Affine matrix(int64_t rows, int64_t columns, float gain = 1) {
    const bool whole = columns % dtype_info(type_).block_elements == 0;
    return {tensor(whole ? type_ : DType::kF16, rows, columns, gain / std::sqrt(static_cast<float>(columns))),
            tensor(DType::kF32, 1, rows, 0.1f)};
  }

  // Weights around 1.
  Affine norm(int64_t columns) {
    Affine norm{tensor(DType::kF32, 1, columns, 0.1f), tensor(DType::kF32, 1, columns, 0.1f)};
    auto* values = reinterpret_cast<float*>(storage_[storage_.size() - 2].data());
    for (int64_t i = 0; i < columns; ++i) values[i] += 1.0f;
    return norm;
  }

 private:
  DType type_;
  uint64_t seed_;
  Storage& storage_;
};

}  // namespace

VisionConfig siglip_config(int32_t text_width) {
  VisionConfig config;
  config.layers = 27;
  config.width = 1152;
  config.ffn_width = 4304;
  config.heads = 16;
  config.image_size = 896;
  config.patch_size = 14;
  config.tokens = 256;
  config.text_width = text_width;
  return config;
}

VisionConfig tiny_vision_config(int32_t text_width) {
  VisionConfig config;
  config.layers = 2;
  config.width = 64;
  config.ffn_width = 160;
  config.heads = 2;
  config.image_size = 112;
  config.patch_size = 14;
  config.tokens = 16;
  config.text_width = text_width;
  return config;
}

std::shared_ptr<const VisionTower> random_tower(const VisionConfig& c, DType type, uint64_t seed) {
  auto storage = std::make_shared<Storage>();
  Maker make(type, seed, *storage);
  auto tower = std::make_shared<VisionTower>();
  tower->config = c;
  VisionWeights& w = tower->weights;
  const int64_t width = c.width;
  const DType straight = is_quantised(type) ? DType::kF16 : type;
  w.patch = {make.tensor(straight, width, c.patch_columns(), 1 / std::sqrt(static_cast<float>(c.patch_columns()))),
             make.tensor(DType::kF32, 1, width, 0.1f)};
  w.position = make.tensor(DType::kF32, c.patches(), width, 0.5f);
  for (int32_t i = 0; i < c.layers; ++i) {
    VisionLayer layer;
    layer.norm_1 = make.norm(width);
    layer.q = make.matrix(width, width, 1.5f);
    layer.k = make.matrix(width, width, 1.5f);
    layer.v = make.matrix(width, width);
    layer.out = make.matrix(width, width);
    layer.norm_2 = make.norm(width);
    layer.fc1 = make.matrix(c.ffn_width, width);
    layer.fc2 = make.matrix(width, c.ffn_width);
    w.layers.push_back(std::move(layer));
  }
  w.post_norm = make.norm(width);
  w.soft_norm = make.norm(width).weight;
  w.projection = make.matrix(c.text_width, width).weight;
  for (const auto& data : *storage) tower->bytes += data.size();
  tower->storage = std::move(storage);
  return tower;
}

namespace {

// The tensors of the file in its order, each with its bytes.
class MmprojFile {
 public:
  void add(const std::string& name, const TensorView& tensor, std::vector<int64_t> shape = {}) {
    header.add_tensor(name, tensor.type, tensor.rows, tensor.columns, std::move(shape));
    data.push_back(tensor.data);
  }
  void add(const std::string& name, const Affine& affine) {
    add(name + ".weight", affine.weight);
    add(name + ".bias", affine.bias);
  }

  GgufHeader header;
  std::vector<std::span<const std::byte>> data;
};

void add_description(GgufHeader& header, const VisionConfig& c) {
  header.add_string("general.architecture", "clip");
  header.add_string("general.type", "mmproj");
  header.add_string("clip.projector_type", "gemma3");
  header.add_bool("clip.has_vision_encoder", true);
  header.add_bool("clip.use_gelu", true);
  const auto number = [&](const char* key, int32_t value) {
    header.add_u32(std::string("clip.vision.") + key, static_cast<uint32_t>(value));
  };
  number("image_size", c.image_size);
  number("patch_size", c.patch_size);
  number("embedding_length", c.width);
  number("feed_forward_length", c.ffn_width);
  number("projection_dim", c.text_width);
  number("block_count", c.layers);
  number("attention.head_count", c.heads);
  number("projector.scale_factor", c.side() / c.token_side());
  header.add_f32("clip.vision.attention.layer_norm_epsilon", c.norm_epsilon);
  constexpr float kHalves[] = {0.5f, 0.5f, 0.5f};
  header.add_f32s("clip.vision.image_mean", kHalves);
  header.add_f32s("clip.vision.image_std", kHalves);
}

}  // namespace

Status write_mmproj(const std::filesystem::path& path, const VisionTower& tower) {
  const VisionConfig& c = tower.config;
  const VisionWeights& w = tower.weights;
  MmprojFile file;
  add_description(file.header, c);
  file.add("v.patch_embd.weight", w.patch.weight, {c.patch_size, c.patch_size, 3, c.width});
  file.add("v.patch_embd.bias", w.patch.bias);
  file.add("v.position_embd.weight", w.position);
  for (size_t i = 0; i < w.layers.size(); ++i) {
    const std::string block = "v.blk." + std::to_string(i) + ".";
    file.add(block + "ln1", w.layers[i].norm_1);
    file.add(block + "attn_q", w.layers[i].q);
    file.add(block + "attn_k", w.layers[i].k);
    file.add(block + "attn_v", w.layers[i].v);
    file.add(block + "attn_out", w.layers[i].out);
    file.add(block + "ln2", w.layers[i].norm_2);
    file.add(block + "ffn_up", w.layers[i].fc1);
    file.add(block + "ffn_down", w.layers[i].fc2);
  }
  file.add("v.post_ln", w.post_norm);
  const std::vector<float> norm = soft_norm_values(tower);
  file.add("mm.soft_emb_norm.weight", TensorView{"", DType::kF32, 1, c.width, std::as_bytes(std::span(norm))});
  // [D][C] here, [C][D] in the file.
  const std::vector<float> projection = projection_values(tower);
  std::vector<float> turned(projection.size());
  const auto width = static_cast<size_t>(c.width), text = static_cast<size_t>(c.text_width);
  for (size_t d = 0; d < text; ++d) {
    for (size_t i = 0; i < width; ++i) turned[i * text + d] = projection[d * width + i];
  }
  file.add("mm.input_projection.weight",
           TensorView{"", DType::kF32, c.width, c.text_width, std::as_bytes(std::span(turned))});
  return write_gguf(path, file.header, [&](size_t index, const GgufSink& sink) { return sink(file.data[index]); });
}

}  // namespace carat
