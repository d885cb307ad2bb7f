#include "model/hf_config.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

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
  CARAT_TRY(const float rotated, text.number_or("partial_rotary_factor", 1));
  if (rotated != 1) return text.unexpected("partial_rotary_factor", "1: whole heads are rotated");
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
  CARAT_CHECK(rope.only({"rope_theta", "rope_type", "type", "factor", "original_max_position_embeddings"}));
  Rope result;
  CARAT_TRY(result.base, rope.number_or("rope_theta", base));
  CARAT_TRY(const auto new_name, rope.text("rope_type"));
  CARAT_TRY(const auto old_name, rope.text("type"));
  if (new_name && old_name && *new_name != *old_name) return rope.unexpected("type", "the same as rope_type");
  const auto& type = new_name ? new_name : old_name;
  const char* key = old_name && !new_name ? "type" : "rope_type";
  if (!type && !rope.has("factor")) return result;
  if (!type || (*type != "linear" && *type != "default")) return rope.unexpected(key, "\"default\" or \"linear\"");
  if (*type == "linear" && !rope.has("factor")) return rope.unexpected("factor", "a number");
  CARAT_TRY(result.factor, rope.number_or("factor", 1));
  if (*type == "default" && result.factor != 1)
    return rope.unexpected("factor", "none, where rope_type is \"default\"");
  return result;
}

// One object for each kind of layer, as transformers 5 has it; `global` and `local` hold what stands elsewhere.
Status parse_keyed_ropes(const JsonFields& ropes, bool both, Rope& global, Rope& local) {
  CARAT_CHECK(ropes.only({"full_attention", "sliding_attention"}));
  CARAT_TRY(const auto full, ropes.object("full_attention"));
  CARAT_TRY(const auto sliding, ropes.object("sliding_attention"));
  if (both && !full) return ropes.unexpected("full_attention", "an object");
  if (both && !sliding) return ropes.unexpected("sliding_attention", "an object");
  if (full) {
    CARAT_TRY(global, parse_rope(*full, global.base));
  }
  if (!sliding) return {};
  CARAT_TRY(local, parse_rope(*sliding, local.base));
  if (local.factor != 1) return sliding->unexpected("factor", "none: sliding layers are not scaled");
  return {};
}

Status parse_ropes(const JsonFields& text, ModelConfig& config) {
  Rope global, local;
  CARAT_TRY(global.base, text.number_or("rope_theta", 1e6f));
  CARAT_TRY(local.base, text.number_or("rope_local_base_freq", 1e4f));
  CARAT_TRY(const auto scaling, text.object("rope_scaling"));
  CARAT_TRY(const auto parameters, text.object("rope_parameters"));
  if (scaling && parameters) return text.unexpected("rope_scaling", "none beside rope_parameters");
  if (parameters) {
    CARAT_CHECK(parse_keyed_ropes(*parameters, true, global, local));
  } else if (scaling && (scaling->has("full_attention") || scaling->has("sliding_attention"))) {
    CARAT_CHECK(parse_keyed_ropes(*scaling, false, global, local));
  } else if (scaling) {
    CARAT_TRY(global, parse_rope(*scaling, global.base));
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
  CARAT_TRY(config.bos_id, text.integer_or("bos_token_id", -1));  // by piece then
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

namespace {

// What a generation_config.json may ask for that Carat does not do, and the values that ask for nothing.
struct Neutral {
  const char* field;
  double value;  // also true for null; NaN: only null
};
constexpr double kNull = std::numeric_limits<double>::quiet_NaN();
constexpr Neutral kNeutral[] = {{"num_beams", 1},
                                {"num_beam_groups", 1},
                                {"diversity_penalty", 0},
                                {"length_penalty", 1},
                                {"penalty_alpha", 0},
                                {"no_repeat_ngram_size", 0},
                                {"encoder_no_repeat_ngram_size", 0},
                                {"encoder_repetition_penalty", 1},
                                {"epsilon_cutoff", 0},
                                {"eta_cutoff", 0},
                                {"top_h", kNull},
                                {"guidance_scale", 1},
                                {"bad_words_ids", kNull},
                                {"force_words_ids", kNull},
                                {"constraints", kNull},
                                {"forced_bos_token_id", kNull},
                                {"forced_eos_token_id", kNull},
                                {"forced_decoder_ids", kNull},
                                {"suppress_tokens", kNull},
                                {"begin_suppress_tokens", kNull},
                                {"sequence_bias", kNull},
                                {"exponential_decay_length_penalty", kNull},
                                {"watermarking_config", kNull},
                                {"min_length", 0},
                                {"max_time", kNull},
                                {"dola_layers", kNull},
                                {"num_return_sequences", 1},
                                {"renormalize_logits", 0},
                                {"token_healing", 0},
                                {"remove_invalid_values", 0},
                                {"low_memory", 0}};

Status refuse_unknown_generation(const nlohmann::json& json, const JsonFields& fields) {
  for (const Neutral& neutral : kNeutral) {
    if (!fields.has(neutral.field)) continue;
    const nlohmann::json& value = json[neutral.field];
    if (value.is_array() && value.empty()) continue;
    const double number = value.is_boolean()  ? (value.get<bool>() ? 1.0 : 0.0)
                          : value.is_number() ? value.get<double>()
                                              : kNull;
    if (number == neutral.value) continue;
    Error error =
        fields.unexpected(neutral.field, std::isnan(neutral.value) ? "null" : fmt::format("{}", neutral.value));
    error.code = ErrorCode::kUnsupported;
    error.message += ": Carat does not do this; take the field out to run the model without it";
    return error;
  }
  return {};
}

// A number that the sampler will check again; here it must lie in [low, high].
Status read_number(const JsonFields& fields, const char* key, float low, float high, std::optional<float>& slot) {
  CARAT_TRY(const auto value, fields.number(key));
  if (!value) return {};
  if (!(*value >= low && *value <= high)) return fields.unexpected(key, fmt::format("{} to {}", low, high));
  slot = value;
  return {};
}

Status read_count(const JsonFields& fields, const char* key, std::optional<int32_t>& slot) {
  CARAT_TRY(const auto value, fields.integer(key));
  if (!value) return {};
  if (*value < 0) return fields.unexpected(key, "0 or more");
  slot = value;
  return {};
}

}  // namespace

Status merge_generation_config(const nlohmann::json& json, const std::string& file, ModelConfig& config,
                               SamplingDefaults& sampling) {
  const JsonFields fields(json, file);
  CARAT_CHECK(refuse_unknown_generation(json, fields));
  CARAT_TRY(const std::vector<int32_t> eos, fields.integers("eos_token_id"));
  config.eos_ids.insert(config.eos_ids.end(), eos.begin(), eos.end());
  CARAT_CHECK(read_number(fields, "temperature", 0, 100, sampling.temperature));
  CARAT_CHECK(read_number(fields, "top_p", 0, 1, sampling.top_p));
  CARAT_CHECK(read_number(fields, "min_p", 0, 1, sampling.min_p));
  CARAT_CHECK(read_number(fields, "typical_p", 0, 1, sampling.typical_p));
  CARAT_CHECK(read_number(fields, "repetition_penalty", 0.01f, 100, sampling.repetition_penalty));
  CARAT_CHECK(read_count(fields, "top_k", sampling.top_k));
  CARAT_CHECK(read_count(fields, "max_new_tokens", sampling.max_tokens));
  CARAT_CHECK(read_count(fields, "min_new_tokens", sampling.min_tokens));
  if (sampling.top_p == 0.0f) return fields.unexpected("top_p", "above 0, at most 1");
  if (sampling.repetition_penalty) sampling.repeat_last_n = -1;  // transformers looks back on everything
  CARAT_TRY(const bool samples, fields.flag("do_sample", true));
  if (!samples) sampling.temperature = 0.0f;  // greedy, whatever else stands there
  if (json.contains("stop_strings") && json["stop_strings"].is_string()) {
    sampling.stops = {json["stop_strings"].get<std::string>()};
  } else {
    CARAT_TRY(sampling.stops, fields.texts("stop_strings", 64));
  }
  return {};
}

}  // namespace carat
