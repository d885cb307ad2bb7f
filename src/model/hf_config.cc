#include "model/hf_config.h"

#include <fmt/format.h>

#include <cmath>

#include "formats/gguf.h"
#include "model/json_fields.h"

namespace carat {
namespace {

constexpr size_t kMaxLayers = 256;

Status require_gemma3(const JsonFields& root) {
  CARAT_TRY(const auto type, root.text("model_type"));
  if (type != "gemma3" && type != "gemma3_text") {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: not a Gemma 3 model: model_type is \"{}\", expected "
                                                      "\"gemma3_text\" or \"gemma3\"",
                                                      root.where(), printable(type.value_or("")))};
  }
  if (root.has("quantization_config")) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: quantization_config is not supported, expected plain bf16, f16 or f32 weights; for "
                             "quantised weights use a GGUF file",
                             root.where())};
  }
  return {};
}

// What would change the arithmetic: everything Google released agrees with these.
Status require_known_arithmetic(const JsonFields& text) {
  for (const char* key : {"hidden_activation", "hidden_act"}) {
    CARAT_TRY(const auto activation, text.text(key));
    if (activation && *activation != "gelu_pytorch_tanh") return text.unexpected(key, "\"gelu_pytorch_tanh\"");
  }
  for (const char* key : {"attention_bias", "use_bidirectional_attention"}) {
    CARAT_TRY(const bool set, text.flag(key, false));
    if (set) return text.unexpected(key, "false");
  }
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (text.has(key)) return text.unexpected(key, "null");
  }
  return {};
}

struct Rope {
  float base = 0;
  float factor = 1;
};

// {"rope_type": "linear", "factor": 8, "rope_theta": 1e6}; old files say "type" and keep the base elsewhere.
Result<Rope> parse_rope(const JsonFields& rope, float base) {
  Rope result;
  CARAT_TRY(result.base, rope.number_or("rope_theta", base));
  const char* key = rope.has("rope_type") ? "rope_type" : "type";
  CARAT_TRY(const auto type, rope.text(key));
  if (!type || *type == "default") return result;
  if (*type != "linear") return rope.unexpected(key, "\"default\" or \"linear\"");
  if (!rope.has("factor")) return rope.unexpected("factor", "a number");
  CARAT_TRY(result.factor, rope.number_or("factor", 1));
  return result;
}

Status parse_ropes(const JsonFields& text, ModelConfig& config) {
  Rope global, local;
  CARAT_TRY(global.base, text.number_or("rope_theta", 1e6f));
  CARAT_TRY(local.base, text.number_or("rope_local_base_freq", 1e4f));
  CARAT_TRY(const auto scaling, text.object("rope_scaling"));
  if (scaling) {
    CARAT_TRY(global, parse_rope(*scaling, global.base));
  }
  CARAT_TRY(const auto parameters, text.object("rope_parameters"));
  if (parameters) {
    CARAT_TRY(const auto full, parameters->object("full_attention"));
    CARAT_TRY(const auto sliding, parameters->object("sliding_attention"));
    if (!full) return parameters->unexpected("full_attention", "an object");
    if (!sliding) return parameters->unexpected("sliding_attention", "an object");
    CARAT_TRY(global, parse_rope(*full, global.base));
    CARAT_TRY(local, parse_rope(*sliding, local.base));
    if (local.factor != 1) return sliding->unexpected("factor", "none: sliding layers are not scaled");
  }
  config.rope_base_global = global.base;
  config.rope_base_local = local.base;
  config.rope_factor_global = global.factor;
  return {};
}

Result<std::vector<bool>> parse_pattern(const JsonFields& text, int32_t layers) {
  CARAT_TRY(const auto types, text.texts("layer_types", kMaxLayers));
  if (!types.empty()) {
    std::vector<bool> is_global;
    for (const std::string& type : types) {
      if (type != "full_attention" && type != "sliding_attention") {
        return text.unexpected("layer_types", "\"full_attention\" and \"sliding_attention\" only");
      }
      is_global.push_back(type == "full_attention");
    }
    return is_global;
  }
  const char* key = text.has("sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
  CARAT_TRY(const int32_t period, text.integer_or(key, 6));
  if (period < 1) return text.unexpected(key, "a positive integer");
  if (layers < 1 || layers > static_cast<int32_t>(kMaxLayers)) return std::vector<bool>();  // validate() names it
  return global_layers(layers, period);
}

Result<ModelConfig> parse_text(const JsonFields& text) {
  CARAT_CHECK(require_known_arithmetic(text));
  ModelConfig config;
  CARAT_TRY(config.layers, text.required_integer("num_hidden_layers"));
  CARAT_TRY(config.width, text.required_integer("hidden_size"));
  CARAT_TRY(config.ffn_width, text.required_integer("intermediate_size"));
  CARAT_TRY(config.window, text.required_integer("sliding_window"));
  // Gemma3TextConfig's defaults, which the released 4B relies on.
  CARAT_TRY(config.heads, text.integer_or("num_attention_heads", 8));
  CARAT_TRY(config.kv_heads, text.integer_or("num_key_value_heads", 4));
  CARAT_TRY(config.head_size, text.integer_or("head_dim", 256));
  CARAT_TRY(config.vocabulary, text.integer_or("vocab_size", 262208));
  CARAT_TRY(config.context_length, text.integer_or("max_position_embeddings", 131072));
  CARAT_TRY(config.norm_epsilon, text.number_or("rms_norm_eps", 1e-6f));
  CARAT_TRY(const float query_scalar, text.number_or("query_pre_attn_scalar", 256));
  if (!(query_scalar > 0)) return text.unexpected("query_pre_attn_scalar", "a positive number");
  config.query_scale = 1 / std::sqrt(query_scalar);
  CARAT_CHECK(parse_ropes(text, config));
  CARAT_TRY(config.is_global, parse_pattern(text, config.layers));
  config.embedding_scale = embedding_scale(config.width);
  CARAT_TRY(config.bos_id, text.integer_or("bos_token_id", 2));
  CARAT_TRY(config.eos_ids, text.integers("eos_token_id"));
  return config;
}

}  // namespace

Result<ModelConfig> parse_hf_config(const nlohmann::json& json, const std::string& file) {
  const JsonFields root(json, file);
  CARAT_CHECK(require_gemma3(root));
  CARAT_TRY(const auto text, root.object("text_config"));
  if (!text) return parse_text(root);
  CARAT_TRY(ModelConfig config, parse_text(*text));
  CARAT_TRY(const std::vector<int32_t> outer_eos, root.integers("eos_token_id"));
  config.eos_ids.insert(config.eos_ids.end(), outer_eos.begin(), outer_eos.end());
  return config;
}

Status merge_generation_config(const nlohmann::json& json, const std::string& file, ModelConfig& config,
                               SamplingDefaults& sampling) {
  const JsonFields fields(json, file);
  CARAT_TRY(const std::vector<int32_t> eos, fields.integers("eos_token_id"));
  config.eos_ids.insert(config.eos_ids.end(), eos.begin(), eos.end());
  CARAT_TRY(sampling.temperature, fields.number("temperature"));
  CARAT_TRY(sampling.top_k, fields.integer("top_k"));
  CARAT_TRY(sampling.top_p, fields.number("top_p"));
  if (sampling.temperature && !(*sampling.temperature >= 0 && *sampling.temperature <= 100)) {
    return fields.unexpected("temperature", "0 to 100");
  }
  if (sampling.top_k && *sampling.top_k < 0) return fields.unexpected("top_k", "0 or more");
  if (sampling.top_p && !(*sampling.top_p > 0 && *sampling.top_p <= 1))
    return fields.unexpected("top_p", "above 0, at most 1");
  return {};
}

}  // namespace carat
