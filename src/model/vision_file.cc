#include "model/vision_file.h"

#include <fmt/format.h>

#include <utility>

#include "base/json.h"
#include "model/json_fields.h"
#include "model/tensors.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

Result<VisionTowerPtr> tower_of(VisionConfig config, std::span<const TensorView> tensors, VisionNaming naming,
                                const std::string& file, FileMaps maps) {
  CARAT_CHECK(validate(config, file));
  auto tower = std::make_shared<VisionTower>();
  CARAT_TRY(tower->weights, bind_vision_tensors(config, tensors, naming, file));
  tower->config = config;
  for (const TensorView& tensor : tensors) {
    if (is_vision_tensor(tensor.name)) tower->bytes += tensor.data.size();
  }
  tower->maps = std::move(maps);
  return VisionTowerPtr(std::move(tower));
}

Status read_integer(const GgufFile& file, const std::string& key, int32_t& value, bool required) {
  CARAT_TRY(const auto found, file.find_u32(key));
  if (!found && required) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: {} is missing, expected an integer", file.name(), key)};
  }
  if (found) value = static_cast<int32_t>(std::min<uint32_t>(*found, INT32_MAX));
  return {};
}

// `prefix`: "clip.vision." or "gemma3.vision.", with the same names behind it.
Result<VisionConfig> gguf_vision_config(const GgufFile& file, const std::string& prefix, int32_t text_width) {
  VisionConfig config;
  config.text_width = text_width;
  CARAT_CHECK(read_integer(file, prefix + "block_count", config.layers, true));
  CARAT_CHECK(read_integer(file, prefix + "embedding_length", config.width, true));
  CARAT_CHECK(read_integer(file, prefix + "feed_forward_length", config.ffn_width, true));
  CARAT_CHECK(read_integer(file, prefix + "attention.head_count", config.heads, true));
  CARAT_CHECK(read_integer(file, prefix + "image_size", config.image_size, true));
  CARAT_CHECK(read_integer(file, prefix + "patch_size", config.patch_size, true));
  CARAT_CHECK(read_integer(file, "gemma3.mm.tokens_per_image", config.tokens, false));
  int32_t scale = 0;  // patches of a side that become one token
  CARAT_CHECK(read_integer(file, prefix + "projector.scale_factor", scale, false));
  if (scale > 0 && config.patch_size > 0) config.tokens = (config.side() / scale) * (config.side() / scale);
  CARAT_TRY(const auto epsilon, file.find_f32(prefix + "attention.layer_norm_epsilon"));
  if (epsilon) config.norm_epsilon = *epsilon;
  return config;
}

}  // namespace

Result<VisionTowerPtr> gguf_vision(const GgufFile& file, int32_t text_width) {
  CARAT_TRY(const auto architecture, file.find_string("general.architecture"));
  if (architecture == "clip") {
    CARAT_TRY(const auto projector, file.find_string("clip.projector_type"));
    if (projector && *projector != "gemma3") {
      return Error{ErrorCode::kUnsupported, fmt::format("{}: clip.projector_type is '{}', expected 'gemma3'",
                                                        file.name(), printable(*projector))};
    }
    CARAT_TRY(const VisionConfig config, gguf_vision_config(file, "clip.vision.", text_width));
    return tower_of(config, file.tensors(), VisionNaming::kMmproj, file.name(), file.maps());
  }
  if (file.find("gemma3.vision.block_count") == nullptr) return VisionTowerPtr();
  CARAT_TRY(const VisionConfig config, gguf_vision_config(file, "gemma3.vision.", text_width));
  return tower_of(config, file.tensors(), VisionNaming::kOllama, file.name(), file.maps());
}

Result<VisionTowerPtr> hf_vision(const nlohmann::json& json, const std::string& config_file,
                                 const SafetensorsFile& file, int32_t text_width) {
  std::vector<TensorView> tensors;
  for (const SafetensorsEntry& entry : file.entries()) {
    if (!is_vision_tensor(entry.name)) continue;
    CARAT_TRY(TensorView tensor, file.tensor(entry.name));
    tensors.push_back(std::move(tensor));
  }
  const JsonFields root(json, config_file);
  CARAT_TRY(const auto vision, root.object("vision_config"));
  if (!vision || tensors.empty()) return VisionTowerPtr();  // a text model that was cut out of a larger one
  VisionConfig config;
  config.text_width = text_width;
  CARAT_TRY(config.layers, vision->required_integer("num_hidden_layers"));
  CARAT_TRY(config.width, vision->required_integer("hidden_size"));
  CARAT_TRY(config.ffn_width, vision->required_integer("intermediate_size"));
  CARAT_TRY(config.heads, vision->required_integer("num_attention_heads"));
  CARAT_TRY(config.image_size, vision->required_integer("image_size"));
  CARAT_TRY(config.patch_size, vision->required_integer("patch_size"));
  CARAT_TRY(config.norm_epsilon, vision->number_or("layer_norm_eps", 1e-6f));
  CARAT_TRY(config.tokens, root.integer_or("mm_tokens_per_image", 256));
  const auto id = [&](const char* old_key, const char* new_key, int32_t absent) {
    return root.integer_or(root.has(new_key) ? new_key : old_key, absent);
  };
  CARAT_TRY(config.begin_id, id("boi_token_index", "boi_token_id", config.begin_id));
  CARAT_TRY(config.end_id, id("eoi_token_index", "eoi_token_id", config.end_id));
  CARAT_TRY(config.soft_id, id("image_token_index", "image_token_id", config.soft_id));
  return tower_of(config, tensors, VisionNaming::kHuggingFace, file.name(), file.maps());
}

Result<VisionTowerPtr> open_vision(const fs::path& path, int32_t text_width) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    CARAT_TRY(const GgufFile file, GgufFile::open(path));
    return gguf_vision(file, text_width);
  }
  const std::string config_file = (path / "config.json").string();
  CARAT_TRY(const nlohmann::json json, read_json_object(config_file));
  CARAT_TRY(const SafetensorsFile file, SafetensorsFile::open(path));
  return hf_vision(json, config_file, file, text_width);
}

}  // namespace carat
