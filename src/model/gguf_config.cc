#include "model/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <iterator>

#include "model/named_tokens.h"

namespace carat {
namespace {

Error corrupt(const GgufFile& file, std::string_view key, std::string_view value, std::string_view expected) {
  return {ErrorCode::kCorruptFile, fmt::format("{}: {} is {}, expected {}", file.name(), key, value, expected)};
}

Result<int32_t> integer_or(const GgufFile& file, const std::string& key, int32_t absent) {
  CARAT_TRY(const auto value, file.find_u32(key));
  if (!value) return absent;
  if (*value > INT32_MAX) return corrupt(file, key, fmt::format("{}", *value), "a 32-bit integer");
  return static_cast<int32_t>(*value);
}

Result<int32_t> required_integer(const GgufFile& file, const std::string& key) {
  CARAT_TRY(const int32_t value, integer_or(file, key, -1));
  if (value < 0) return corrupt(file, key, "missing", "an integer");
  return value;
}

// The first of the keys that is there.
Result<float> number_or(const GgufFile& file, std::initializer_list<const char*> keys, float absent) {
  for (const char* key : keys) {
    CARAT_TRY(const auto value, file.find_f32(key));
    if (value) return *value;
  }
  return absent;
}

Status require_gemma3(const GgufFile& file) {
  CARAT_TRY(const auto architecture, file.find_string("general.architecture"));
  CARAT_TRY(const auto kind, file.find_string("general.type"));
  if (kind == "adapter") {
    return Error{ErrorCode::kUnsupported,
                 file.name() + ": is an adapter (LoRA): merge it into its base model first, then run the result"};
  }
  if (kind == "mmproj" || architecture == "clip") {
    return Error{ErrorCode::kUnsupported,
                 file.name() + ": is the vision part of a model (mmproj): name the file with the text model"};
  }
  if (architecture != "gemma3") {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: not a Gemma 3 model: general.architecture is '{}', expected 'gemma3'", file.name(),
                             printable(architecture.value_or("")))};
  }
  CARAT_TRY(const auto causal, file.find_bool("gemma3.attention.causal"));
  if (causal && !*causal) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: gemma3.attention.causal is false, expected a causal model", file.name())};
  }
  return {};
}

// Gemma 3 caps nothing. Ollama's converter wrote a cap of 30 into the file of its 1B, which its own engine leaves out
// again: in a shape that Google released the value is known to be wrong, in any other it is that model's arithmetic.
Status check_capping(const GgufFile& file, const ModelConfig& config, std::vector<std::string>& notes) {
  for (const char* key : {"gemma3.attn_logit_softcapping", "gemma3.final_logit_softcapping"}) {
    CARAT_TRY(const auto cap, file.find_f32(key));
    if (!cap || *cap == 0) continue;
    if (!is_google_shape(config) || *cap != 30 || key != std::string_view("gemma3.final_logit_softcapping")) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: {} is {}, expected none: Gemma 3 has no soft-capping", file.name(), key, *cap)};
    }
    notes.push_back(fmt::format("{} is 30 in the file, which is wrong for Google's Gemma 3: taken for none", key));
  }
  return {};
}

// Metadata under these prefixes is arithmetic: what is not known here would be left out of it.
Status refuse_unknown_arithmetic(const GgufFile& file, const ModelConfig& config) {
  static constexpr std::string_view kKnown[] = {"attention.head_count",
                                                "attention.head_count_kv",
                                                "attention.key_length",
                                                "attention.value_length",
                                                "attention.layer_norm_rms_epsilon",
                                                "attention.sliding_window",
                                                "attention.sliding_window_pattern",
                                                "attention.causal",
                                                "attention.scale",
                                                "rope.freq_base",
                                                "rope.freq_base_swa",
                                                "rope.global.freq_base",
                                                "rope.local.freq_base",
                                                "rope.scaling.type",
                                                "rope.scaling.factor",
                                                "rope.scaling.original_context_length",
                                                "rope.scaling.finetuned",
                                                "rope.scale_linear"};
  struct Neutral {
    std::string_view key;
    double value;
  };
  const double head = config.head_size;
  const Neutral neutrals[] = {{"attention.key_length_swa", head},
                              {"attention.value_length_swa", head},
                              {"rope.dimension_count", head},
                              {"rope.dimension_count_swa", head},
                              {"rope.scaling.attn_factor", 1},
                              {"attention.shared_kv_layers", 0},
                              {"attention.clamp_kqv", 0},
                              {"attention.max_alibi_bias", 0},
                              {"logit_scale", 1},
                              {"residual_scale", 1},
                              {"embedding_scale", 1},
                              {"expert_count", 0},
                              {"expert_used_count", 0},
                              {"use_parallel_residual", 0},
                              {"pooling_type", 0}};
  constexpr std::string_view kPrefix = "gemma3.";
  for (const GgufValue& value : file.values()) {
    if (!value.key.starts_with(kPrefix)) continue;
    const std::string_view key = value.key.substr(kPrefix.size());
    const auto neutral =
        std::find_if(std::begin(neutrals), std::end(neutrals), [&](const Neutral& n) { return n.key == key; });
    if (neutral != std::end(neutrals)) {
      double found = 0;
      if (value.type == GgufType::kF32 || value.type == GgufType::kF64) {
        CARAT_TRY(const auto number, file.find_f32(value.key));
        found = double{*number};
      } else if (value.type == GgufType::kBool) {
        CARAT_TRY(const auto flag, file.find_bool(value.key));
        found = *flag ? 1 : 0;
      } else {
        CARAT_TRY(const auto number, file.find_i64(value.key));
        found = static_cast<double>(*number);
      }
      if (found == neutral->value) continue;
      return corrupt(file, printable(value.key), fmt::format("{}", found), fmt::format("{} or none", neutral->value));
    }
    const bool arithmetic = key.starts_with("attention.") || key.starts_with("rope.");
    if (arithmetic && std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown)) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: {} is not known here, and may change what the model computes", file.name(),
                               printable(value.key))};
    }
  }
  return {};
}

// How text becomes ids, beyond the vocabulary. What llama.cpp would add to or take from a text and Gemma 3 does not.
Status check_tokenizer_flags(const GgufFile& file, ModelConfig& config) {
  CARAT_TRY(const auto add_bos, file.find_bool("tokenizer.ggml.add_bos_token"));
  config.adds_bos = add_bos.value_or(true);
  for (const char* key : {"tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_space_prefix",
                          "tokenizer.ggml.remove_extra_whitespaces", "tokenizer.ggml.treat_whitespace_as_suffix"}) {
    CARAT_TRY(const auto set, file.find_bool(key));
    if (set && *set) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: {} is true, expected false, as Gemma 3 has it", file.name(), key)};
    }
  }
  return {};
}

// Only global layers are scaled, by 8 from 4B on. Ollama's older files leave the scaling out and know it by the context
// of 128K. Google's QAT 1B has a factor of 1, which says the same as none.
Status parse_rope(const GgufFile& file, ModelConfig& config) {
  CARAT_TRY(config.rope_base_global, number_or(file, {"gemma3.rope.freq_base", "gemma3.rope.global.freq_base"}, 1e6f));
  CARAT_TRY(config.rope_base_local,
            number_or(file, {"gemma3.rope.freq_base_swa", "gemma3.rope.local.freq_base"}, 1e4f));
  CARAT_TRY(const auto type, file.find_string("gemma3.rope.scaling.type"));
  if (type && *type != "linear" && *type != "none") {
    return corrupt(file, "gemma3.rope.scaling.type", printable(*type), "'linear' or 'none'");
  }
  const float absent = config.context_length >= 131072 && type != "none" ? 8.0f : 1.0f;
  CARAT_TRY(config.rope_factor_global,
            number_or(file, {"gemma3.rope.scaling.factor", "gemma3.rope.scale_linear"}, absent));
  if (type == "none") config.rope_factor_global = 1;
  return {};
}

// Every sixth layer is global unless the file says otherwise: a period (llama.cpp), or a flag per layer that is true on
// sliding layers (Ollama).
Result<std::vector<bool>> parse_pattern(const GgufFile& file, int32_t layers) {
  const char* key = "gemma3.attention.sliding_window_pattern";
  const GgufValue* value = file.find(key);
  if (value != nullptr && value->type == GgufType::kArray) {
    CARAT_TRY(const auto sliding, file.find_bools(key));
    std::vector<bool> is_global;
    for (size_t i = 0; i < std::min(sliding->size(), size_t{1024}); ++i) is_global.push_back((*sliding)[i] == 0);
    return is_global;
  }
  CARAT_TRY(const int32_t period, integer_or(file, key, 6));
  if (period < 1) return corrupt(file, key, fmt::format("{}", period), "a positive number");
  if (layers < 1 || layers > 1024) return std::vector<bool>();  // validate() names the layer count
  return global_layers(layers, period);
}

Result<std::vector<int32_t>> declared_ends(const GgufFile& file) {
  std::vector<int32_t> ids;
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    CARAT_TRY(const int32_t id, integer_or(file, key, -1));
    if (id >= 0) ids.push_back(id);
  }
  if (const GgufValue* list = file.find("tokenizer.ggml.eos_token_ids"); list != nullptr) {  // Ollama
    CARAT_TRY(const auto more, file.find_i32s(list->key));
    for (size_t i = 0; i < std::min(more->size(), size_t{64}); ++i) ids.push_back((*more)[i]);
  }
  return ids;
}

struct FileTypeName {
  uint32_t id;  // llama_ftype of llama.h
  std::string_view name;
};
constexpr std::array<FileTypeName, 20> kFileTypes{{
    {0, "F32"},     {1, "F16"},     {2, "Q4_0"},    {3, "Q4_1"},    {7, "Q8_0"},    {8, "Q5_0"},    {9, "Q5_1"},
    {10, "Q2_K"},   {11, "Q3_K_S"}, {12, "Q3_K_M"}, {13, "Q3_K_L"}, {14, "Q4_K_S"}, {15, "Q4_K_M"}, {16, "Q5_K_S"},
    {17, "Q5_K_M"}, {18, "Q6_K"},   {21, "Q2_K_S"}, {25, "IQ4_NL"}, {30, "IQ4_XS"}, {32, "BF16"},
}};

}  // namespace

Result<ModelConfig> parse_gguf_config(const GgufFile& file, int64_t embedding_rows, std::vector<std::string>& notes) {
  CARAT_CHECK(require_gemma3(file));
  ModelConfig config;
  CARAT_TRY(const auto name, file.find_string("general.name"));
  config.name = name ? printable(*name) : "Gemma 3";
  CARAT_TRY(config.layers, required_integer(file, "gemma3.block_count"));
  CARAT_TRY(config.width, required_integer(file, "gemma3.embedding_length"));
  CARAT_TRY(config.ffn_width, required_integer(file, "gemma3.feed_forward_length"));
  CARAT_TRY(config.heads, required_integer(file, "gemma3.attention.head_count"));
  CARAT_TRY(config.kv_heads, required_integer(file, "gemma3.attention.head_count_kv"));
  CARAT_TRY(config.head_size, integer_or(file, "gemma3.attention.key_length", 256));
  CARAT_TRY(const int32_t value_size, integer_or(file, "gemma3.attention.value_length", config.head_size));
  if (value_size != config.head_size) {
    return corrupt(file, "gemma3.attention.value_length", fmt::format("{}", value_size),
                   fmt::format("the key length {}", config.head_size));
  }
  CARAT_TRY(config.context_length, required_integer(file, "gemma3.context_length"));
  // Google's QAT file of the 1B says 1024 where its model card and both of Google's programs say 512. The file is
  // obeyed, as llama.cpp does: whoever compares answers compares them on the same file.
  CARAT_TRY(config.window, required_integer(file, "gemma3.attention.sliding_window"));
  if (config.layers == 26 && config.window == 1024 && is_google_shape(config)) {
    notes.emplace_back("the sliding window is 1024, as the file has it; Google's other files of the 1B say 512");
  }
  CARAT_TRY(config.norm_epsilon, number_or(file, {"gemma3.attention.layer_norm_rms_epsilon"}, 1e-6f));
  // GGUF has no key for query_pre_attn_scalar; only the 27B's differs from its head size (5376 / 32).
  config.query_scale = 1 / std::sqrt(config.layers == 62 ? 168.0f : static_cast<float>(config.head_size));
  CARAT_TRY(config.query_scale, number_or(file, {"gemma3.attention.scale"}, config.query_scale));
  CARAT_CHECK(refuse_unknown_arithmetic(file, config));
  CARAT_CHECK(check_capping(file, config, notes));
  CARAT_CHECK(parse_rope(file, config));
  CARAT_TRY(config.is_global, parse_pattern(file, config.layers));
  config.embedding_scale = embedding_scale(config.width);
  CARAT_CHECK(check_tokenizer_flags(file, config));
  CARAT_TRY(const NamedTokens tokens, named_tokens_of(file));
  CARAT_CHECK(tokens.settle_rows(embedding_rows, file.name(), config));
  const int32_t bos = tokens.find("<bos>");
  CARAT_TRY(config.bos_id, integer_or(file, "tokenizer.ggml.bos_token_id", bos >= 0 ? bos : 2));
  CARAT_TRY(std::vector<int32_t> ends, declared_ends(file));
  config.eos_ids = tokens.end_ids(std::move(ends));
  return config;
}

Result<bool> is_instruction_tuned(const GgufFile& file) {
  CARAT_TRY(const auto finetune, file.find_string("general.finetune"));
  if (finetune) {
    std::string name(*finetune);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (name == "pt" || name == "base") return false;
    if (name == "it" || name.starts_with("it-") || name.ends_with("-it") || name.find("-it-") != std::string::npos ||
        name.find("instruct") != std::string::npos || name.find("chat") != std::string::npos) {
      return true;
    }
  }
  CARAT_TRY(const NamedTokens tokens, named_tokens_of(file));
  CARAT_TRY(const std::vector<int32_t> ends, declared_ends(file));
  const int32_t end_of_turn = tokens.find("<end_of_turn>");
  return end_of_turn >= 0 && std::find(ends.begin(), ends.end(), end_of_turn) != ends.end();
}

Result<VocabularyView> read_gguf_vocabulary(const GgufFile& file, int32_t vocabulary) {
  VocabularyView view;
  CARAT_TRY(const auto pieces, file.find_strings("tokenizer.ggml.tokens"));
  if (!pieces) return view;
  CARAT_TRY(const auto model, file.find_string("tokenizer.ggml.model"));
  if (model && *model != "llama") {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: tokenizer.ggml.model is '{}', expected 'llama' (SentencePiece)", file.name(),
                             printable(*model))};
  }
  CARAT_TRY(const auto scores, file.find_f32s("tokenizer.ggml.scores"));
  CARAT_TRY(const auto types, file.find_i32s("tokenizer.ggml.token_type"));
  const auto wanted = static_cast<size_t>(vocabulary);
  const auto require = [&](const char* key, size_t size) -> Status {
    if (size >= wanted) return {};
    return corrupt(file, key, fmt::format("{} entries", size), fmt::format("one for each of {} ids", wanted));
  };
  CARAT_CHECK(require("tokenizer.ggml.tokens", pieces->size()));
  CARAT_CHECK(require("tokenizer.ggml.scores", scores ? scores->size() : 0));
  CARAT_CHECK(require("tokenizer.ggml.token_type", types ? types->size() : 0));
  view.pieces.reserve(wanted);
  view.scores.reserve(wanted);
  view.types.reserve(wanted);
  auto piece = pieces->begin();
  for (size_t id = 0; id < wanted; ++id, ++piece) {
    const float score = (*scores)[id];
    const int32_t type = (*types)[id];
    if (!std::isfinite(score))
      return corrupt(file, fmt::format("tokenizer.ggml.scores[{}]", id), "not finite", "a number");
    if (type < 1 || type > 6) {
      return corrupt(file, fmt::format("tokenizer.ggml.token_type[{}]", id), fmt::format("{}", type), "1 to 6");
    }
    view.pieces.push_back(*piece);
    view.scores.push_back(score);
    view.types.push_back(static_cast<uint8_t>(type));
  }
  return view;
}

Result<SamplingDefaults> read_gguf_sampling(const GgufFile& file) {
  SamplingDefaults sampling;
  const auto number = [&](const char* key, float low, float high, std::optional<float>& slot) -> Status {
    CARAT_TRY(slot, file.find_f32(key));
    if (!slot || (*slot >= low && *slot <= high)) return {};
    return corrupt(file, key, fmt::format("{}", *slot), fmt::format("{} to {}", low, high));
  };
  CARAT_CHECK(number("general.sampling.temp", 0, 100, sampling.temperature));
  CARAT_CHECK(number("general.sampling.top_p", 0, 1, sampling.top_p));
  CARAT_CHECK(number("general.sampling.min_p", 0, 1, sampling.min_p));
  CARAT_CHECK(number("general.sampling.penalty_repeat", 0.01f, 100, sampling.repetition_penalty));
  if (sampling.top_p == 0.0f) return corrupt(file, "general.sampling.top_p", "0", "above 0, at most 1");
  CARAT_TRY(const int32_t top_k, integer_or(file, "general.sampling.top_k", -1));
  if (top_k >= 0) sampling.top_k = top_k;
  CARAT_TRY(const auto last, file.find_i64("general.sampling.penalty_last_n"));
  if (last && (*last < -1 || *last > INT32_MAX)) {
    return corrupt(file, "general.sampling.penalty_last_n", fmt::format("{}", *last), "-1 or more");
  }
  if (last) sampling.repeat_last_n = static_cast<int32_t>(*last);
  // What Carat's sampler does not have: 0 asks for nothing.
  CARAT_TRY(const auto xtc, file.find_f32("general.sampling.xtc_probability"));
  CARAT_TRY(const int32_t mirostat, integer_or(file, "general.sampling.mirostat", 0));
  if ((xtc && *xtc != 0) || mirostat != 0 || file.find("general.sampling.sequence") != nullptr) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: general.sampling asks for {}, which Carat's sampler does not have", file.name(),
                             mirostat != 0      ? "mirostat"
                             : xtc && *xtc != 0 ? "XTC"
                                                : "an order of its own")};
  }
  return sampling;
}

Result<std::string> gguf_quantisation(const GgufFile& file) {
  CARAT_TRY(const auto type, file.find_u32("general.file_type"));
  for (const FileTypeName& known : kFileTypes) {
    if (type == known.id) return std::string(known.name);
  }
  std::array<int64_t, kDTypeCount> elements{};
  for (const TensorView& tensor : file.tensors()) elements[static_cast<size_t>(tensor.type)] += tensor.elements();
  const auto most = std::max_element(elements.begin(), elements.end()) - elements.begin();
  std::string name(dtype_info(static_cast<DType>(most)).name);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return "mixed " + name;
}

}  // namespace carat
