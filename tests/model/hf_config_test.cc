#include "model/hf_config.h"

#include "model/fixture.h"
#include "model/json_fields.h"

namespace carat::test {
namespace {

using nlohmann::json;

// The 1B as Google published it in 2025.
const char* const kOldFlat = R"({
  "architectures": ["Gemma3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "attn_logit_softcapping": null, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 106],
  "final_logit_softcapping": null, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152,
  "initializer_range": 0.02, "intermediate_size": 6912, "max_position_embeddings": 32768, "model_type": "gemma3_text",
  "num_attention_heads": 4, "num_hidden_layers": 26, "num_key_value_heads": 1, "pad_token_id": 0,
  "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000, "rope_scaling": null,
  "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6, "torch_dtype": "bfloat16",
  "vocab_size": 262144})";

// The 4B as Google published it: head counts, head size, context and vocabulary are the class's defaults.
const char* const kOldNested = R"({
  "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999, "eoi_token_index": 256000,
  "eos_token_id": [1, 106], "image_token_index": 262144, "mm_tokens_per_image": 256, "model_type": "gemma3",
  "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
    "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024},
  "vision_config": {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
    "model_type": "siglip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14}})";

// The 27B's text_config in transformers 5's words.
json new_27b() {
  json config = json::parse(R"({
    "model_type": "gemma3", "text_config": {"hidden_size": 5376, "intermediate_size": 21504, "head_dim": 128,
      "num_attention_heads": 32, "num_key_value_heads": 16, "num_hidden_layers": 62, "query_pre_attn_scalar": 168,
      "sliding_window": 1024, "vocab_size": 262208, "rope_parameters": {
        "full_attention": {"rope_theta": 1000000.0, "rope_type": "linear", "factor": 8.0},
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}}}})");
  for (int i = 0; i < 62; ++i) {
    config["text_config"]["layer_types"].push_back(i % 6 == 5 ? "full_attention" : "sliding_attention");
  }
  return config;
}

Result<ModelConfig> parse(const json& config) { return parse_hf_config(config, "config.json"); }

TEST(HfConfig, OldFlatStyle) {
  const Result<ModelConfig> config = parse(json::parse(kOldFlat));
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->layers, 26);
  EXPECT_EQ(config->width, 1152);
  EXPECT_EQ(config->ffn_width, 6912);
  EXPECT_EQ(config->heads, 4);
  EXPECT_EQ(config->kv_heads, 1);
  EXPECT_EQ(config->head_size, 256);
  EXPECT_EQ(config->window, 512);
  EXPECT_EQ(config->context_length, 32768);
  EXPECT_EQ(config->vocabulary, 262144);
  EXPECT_EQ(config->query_scale, 0.0625f);
  EXPECT_EQ(config->rope_factor_global, 1);
  EXPECT_EQ(config->rope_base_global, 1e6f);
  EXPECT_EQ(config->rope_base_local, 1e4f);
  EXPECT_EQ(config->embedding_scale, 34);
  EXPECT_EQ(config->is_global, global_layers(26, 6));
  EXPECT_EQ(config->eos_ids, (std::vector<int32_t>{1, 106}));
  EXPECT_TRUE(validate(*config, "config.json").ok());
}

TEST(HfConfig, OldNestedStyleWithTheClassDefaults) {
  const Result<ModelConfig> config = parse(json::parse(kOldNested));
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->heads, 8);
  EXPECT_EQ(config->kv_heads, 4);
  EXPECT_EQ(config->head_size, 256);
  EXPECT_EQ(config->vocabulary, 262208);
  EXPECT_EQ(config->context_length, 131072);
  EXPECT_EQ(config->rope_factor_global, 8);
  EXPECT_EQ(config->is_global, global_layers(34, 6));
  EXPECT_EQ(config->eos_ids, (std::vector<int32_t>{1, 106}));
}

TEST(HfConfig, NewStyle) {
  const Result<ModelConfig> config = parse(new_27b());
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->head_size, 128);
  EXPECT_FLOAT_EQ(config->query_scale, 0.0771516749f);  // 168^-0.5
  EXPECT_EQ(config->rope_factor_global, 8);
  EXPECT_EQ(config->rope_base_local, 1e4f);
  EXPECT_EQ(config->is_global, global_layers(62, 6));
}

TEST(HfConfig, LayerTypesWinOverThePattern) {
  json config = json::parse(kOldFlat);
  config["num_hidden_layers"] = 2;
  config["layer_types"] = {"full_attention", "sliding_attention"};
  EXPECT_EQ(parse(config)->is_global, (std::vector<bool>{true, false}));
}

TEST(HfConfig, OtherModelsAreRefusedByName) {
  for (const char* type : {"llama", "gemma2", "gemma3n", "siglip_vision_model"}) {
    json config = json::parse(kOldFlat);
    config["model_type"] = type;
    EXPECT_TRUE(fails_with(parse(config), ErrorCode::kUnsupported, {"not a Gemma 3 model", type}));
  }
  EXPECT_TRUE(fails_with(parse(json::object()), ErrorCode::kUnsupported, {"config.json: not a Gemma 3 model"}));
}

TEST(HfConfig, QuantisedDirectoriesAreRefused) {
  json config = json::parse(kOldFlat);
  config["quantization_config"] = {{"quant_method", "compressed-tensors"}};
  EXPECT_TRUE(fails_with(parse(config), ErrorCode::kUnsupported, {"quantization_config"}));
}

struct Change {
  const char* field;
  json value;
};

TEST(HfConfig, EveryBadFieldIsNamed) {
  const std::vector<Change> changes{
      {"num_hidden_layers", nullptr},
      {"num_hidden_layers", "26"},
      {"num_hidden_layers", 1e30},
      {"num_hidden_layers", 2.5},
      {"hidden_size", nullptr},
      {"hidden_size", json::array()},
      {"intermediate_size", nullptr},
      {"sliding_window", nullptr},
      {"sliding_window", true},
      {"num_attention_heads", "four"},
      {"num_key_value_heads", json::object()},
      {"head_dim", 4294967296.0},
      {"vocab_size", "many"},
      {"max_position_embeddings", false},
      {"rms_norm_eps", "1e-6"},
      {"query_pre_attn_scalar", 0},
      {"query_pre_attn_scalar", -256},
      {"rope_theta", "1e6"},
      {"rope_local_base_freq", json::array()},
      {"rope_scaling", 8},
      {"sliding_window_pattern", 0},
      {"layer_types", "full_attention"},
      {"layer_types", json::array({"full_attention", "chunked_attention"})},
      {"layer_types", json::array({1, 2})},
      {"layer_types", json::array_t(100000, "full_attention")},
      {"eos_token_id", json::array({1, "106"})},
      {"eos_token_id", json::array_t(1000, 1)},
      {"bos_token_id", "2"},
      {"hidden_activation", "relu"},
      {"attention_bias", true},
      {"use_bidirectional_attention", true},
      {"attn_logit_softcapping", 50.0},
      {"final_logit_softcapping", 30.0},
  };
  for (const Change& change : changes) {
    json config = json::parse(kOldFlat);
    config[change.field] = change.value;
    EXPECT_TRUE(fails_with(parse(config), ErrorCode::kCorruptFile, {"config.json: ", change.field, "expected"}))
        << change.field;
  }
}

TEST(HfConfig, RopeParametersAreChecked) {
  json config = new_27b();
  json& ropes = config["text_config"]["rope_parameters"];
  ropes["full_attention"]["rope_type"] = "yarn";
  EXPECT_TRUE(
      fails_with(parse(config), ErrorCode::kCorruptFile, {"rope_parameters: full_attention: rope_type", "yarn"}));
  ropes["full_attention"] = {{"rope_type", "linear"}};
  EXPECT_TRUE(fails_with(parse(config), ErrorCode::kCorruptFile, {"factor is missing"}));
  config = new_27b();
  config["text_config"]["rope_parameters"].erase("sliding_attention");
  EXPECT_TRUE(fails_with(parse(config), ErrorCode::kCorruptFile, {"sliding_attention is missing"}));
}

TEST(HfConfig, RopeScalingIsObeyedOrRefused) {
  const auto with = [](const json& scaling) {
    json config = json::parse(kOldFlat);
    config["rope_scaling"] = scaling;
    return parse(config);
  };
  EXPECT_EQ(with({{"type", "linear"}, {"factor", 8.0}})->rope_factor_global, 8);
  EXPECT_EQ(with({{"rope_type", "default"}})->rope_factor_global, 1);
  EXPECT_EQ(with({{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}}}})->rope_factor_global, 8);
  EXPECT_EQ(with({{"full_attention", nullptr}, {"sliding_attention", {{"rope_theta", 2e4}}}})->rope_base_local, 2e4f);
  EXPECT_TRUE(fails_with(with({{"factor", 8.0}}), ErrorCode::kCorruptFile, {"rope_scaling: rope_type is missing"}));
  EXPECT_TRUE(fails_with(with({{"rope_type", "linear"}, {"type", "default"}, {"factor", 8.0}}), ErrorCode::kCorruptFile,
                         {"rope_scaling: type"}));
  EXPECT_TRUE(fails_with(with({{"rope_type", "default"}, {"factor", 8.0}}), ErrorCode::kCorruptFile, {"factor"}));
  EXPECT_TRUE(fails_with(with({{"rope_type", "linear"}, {"factor", 8.0}, {"attention_factor", 0.5}}),
                         ErrorCode::kUnsupported, {"attention_factor"}));
  EXPECT_TRUE(fails_with(with({{"full_attention", {{"factor", 8.0}}}}), ErrorCode::kCorruptFile, {"rope_type"}));
  EXPECT_TRUE(fails_with(with({{"sliding_attention", {{"rope_type", "linear"}, {"factor", 8.0}}}}),
                         ErrorCode::kCorruptFile, {"sliding layers are not scaled"}));
  EXPECT_TRUE(fails_with(with({{"full_attention", json::object()}, {"chunked_attention", json::object()}}),
                         ErrorCode::kUnsupported, {"chunked_attention"}));
  json both = new_27b();
  both["text_config"]["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 4.0}};
  EXPECT_TRUE(fails_with(parse(both), ErrorCode::kCorruptFile, {"rope_scaling"}));
}

TEST(HfConfig, NumbersBeyondAFloatAreRefused) {
  for (const char* field : {"rms_norm_eps", "rope_theta", "partial_rotary_factor"}) {
    json config = json::parse(kOldFlat);
    config[field] = 1e300;
    EXPECT_TRUE(fails_with(parse(config), ErrorCode::kCorruptFile, {field}));
  }
}

TEST(HfConfig, GenerationConfigIsObeyedOrRefused) {
  const auto merge = [](const json& generation, SamplingDefaults& sampling) {
    ModelConfig config;
    return merge_generation_config(generation, "g.json", config, sampling);
  };
  SamplingDefaults sampling;
  ASSERT_TRUE(merge({{"temperature", 0.7}, {"do_sample", false}}, sampling).ok());
  EXPECT_EQ(sampling.temperature, 0.0f);  // greedy
  sampling = {};
  ASSERT_TRUE(merge({{"repetition_penalty", 1.3},
                     {"min_p", 0.05},
                     {"typical_p", 0.9},
                     {"max_new_tokens", 7},
                     {"min_new_tokens", 2},
                     {"stop_strings", {"A", "B"}}},
                    sampling)
                  .ok());
  EXPECT_EQ(sampling.repetition_penalty, 1.3f);
  EXPECT_EQ(sampling.repeat_last_n, -1);
  EXPECT_EQ(sampling.min_p, 0.05f);
  EXPECT_EQ(sampling.typical_p, 0.9f);
  EXPECT_EQ(sampling.max_tokens, 7);
  EXPECT_EQ(sampling.min_tokens, 2);
  EXPECT_EQ(sampling.stops, (std::vector<std::string>{"A", "B"}));
  ASSERT_TRUE(merge({{"num_beams", 1},
                     {"no_repeat_ngram_size", 0},
                     {"suppress_tokens", nullptr},
                     {"bad_words_ids", json::array()},
                     {"cache_implementation", "hybrid"},
                     {"pad_token_id", 0},
                     {"renormalize_logits", false}},
                    sampling)
                  .ok());
  for (const auto& [field, value] : std::vector<std::pair<const char*, json>>{{"num_beams", 4},
                                                                              {"no_repeat_ngram_size", 3},
                                                                              {"suppress_tokens", {5}},
                                                                              {"bad_words_ids", {{5}}},
                                                                              {"sequence_bias", {{{1}, -2.0}}},
                                                                              {"guidance_scale", 1.5},
                                                                              {"renormalize_logits", true},
                                                                              {"eta_cutoff", "high"}}) {
    EXPECT_TRUE(fails_with(merge({{field, value}}, sampling), ErrorCode::kUnsupported, {"g.json: ", field}));
  }
  for (const auto& [field, value] : std::vector<std::pair<const char*, json>>{
           {"do_sample", 1}, {"max_new_tokens", -1}, {"min_p", 2}, {"repetition_penalty", 0}, {"stop_strings", {1}}}) {
    EXPECT_TRUE(fails_with(merge({{field, value}}, sampling), ErrorCode::kCorruptFile, {"g.json: ", field}));
  }
}

TEST(HfConfig, GenerationConfigAddsStopsAndSampling) {
  ModelConfig config = *parse(json::parse(kOldFlat));
  SamplingDefaults sampling;
  const json generation = json::parse(R"({"eos_token_id": [1, 106, 49], "temperature": 0.7, "top_k": 64, "top_p": 0.95,
                                          "do_sample": true, "transformers_version": "4.50.0"})");
  ASSERT_TRUE(merge_generation_config(generation, "g.json", config, sampling).ok());
  EXPECT_EQ(sampling.temperature, 0.7f);
  EXPECT_EQ(sampling.top_k, 64);
  EXPECT_EQ(sampling.top_p, 0.95f);
  EXPECT_EQ(config.eos_ids, (std::vector<int32_t>{1, 106, 1, 106, 49}));
  for (const auto& [field, value] : std::vector<std::pair<const char*, json>>{
           {"temperature", -1}, {"temperature", 1e9}, {"top_k", -5}, {"top_p", 0}, {"top_p", 1.5}, {"top_p", "high"}}) {
    EXPECT_TRUE(fails_with(merge_generation_config(json{{field, value}}, "g.json", config, sampling),
                           ErrorCode::kCorruptFile, {std::string("g.json: ") + field, "expected"}));
  }
}

TEST(JsonFields, FilesThatAreNoSmallJsonObject) {
  const TemporaryDirectory directory;
  const std::string path = (directory.path() / "config.json").string();
  EXPECT_TRUE(fails_with(read_json_object(path), ErrorCode::kNotFound, {"config.json"}));
  for (const std::string& text :
       {std::string("{\"a\": "), std::string("[1]"), std::string(""), std::string("\xff\xfe{}"),
        std::string(100000, '['), "{\"a\":" + std::string(100000, '[')}) {
    directory.write("config.json", text);
    EXPECT_TRUE(fails_with(read_json_object(path), ErrorCode::kCorruptFile, {"config.json"}));
  }
  directory.write("config.json", "{\"a\":\"" + std::string(2 << 20, 'x') + "\"}");
  EXPECT_TRUE(fails_with(read_json_object(path), ErrorCode::kCorruptFile, {"1 MiB"}));
}

TEST(JsonFields, ReadsOnlyTheMembersThatAreWanted) {
  const TemporaryDirectory directory;
  const std::string path = (directory.path() / "t.json").string();
  directory.write("t.json", R"({"a": {"chat_template": 1}, "b": [{"chat_template": 2}]})");
  EXPECT_EQ(read_json_members(path, {"chat_template"})->dump(), "{}");
  directory.write("t.json", R"({"a": {"x": 1}, "chat_template": {"y": [1]}, "z": "w"})");
  EXPECT_EQ(read_json_members(path, {"chat_template", "w"})->dump(), R"({"chat_template":{"y":[1]}})");
  directory.write("t.json", R"({"chat_template": )");
  EXPECT_TRUE(fails_with(read_json_members(path, {"a"}), ErrorCode::kCorruptFile, {"t.json"}));
  EXPECT_TRUE(fails_with(read_json_members("/nowhere", {"a"}), ErrorCode::kNotFound, {"/nowhere"}));
  directory.write("t.json", "{\"a\":\"\"" + std::string(17 << 20, ' ') + "}");
  EXPECT_TRUE(fails_with(read_json_members(path, {"a"}), ErrorCode::kCorruptFile, {"16 MiB"}));
}

}  // namespace
}  // namespace carat::test
