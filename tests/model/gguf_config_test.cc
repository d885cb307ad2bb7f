#include "model/gguf_config.h"

#include <cmath>
#include <functional>
#include <map>
#include <tuple>

#include "model/fixture.h"
#include "support/gguf_builder.h"

namespace carat::test {
namespace {

// The metadata of the 1B as llama.cpp's converter writes it.
GgufBuilder llama_cpp_1b() {
  GgufBuilder builder;
  builder.set_string("general.architecture", "gemma3");
  builder.set_string("general.name", "Gemma 3 1b It");
  builder.set_u32("general.file_type", 15);
  builder.set_u32("gemma3.context_length", 32768);
  builder.set_u32("gemma3.embedding_length", 1152);
  builder.set_u32("gemma3.block_count", 26);
  builder.set_u32("gemma3.feed_forward_length", 6912);
  builder.set_u32("gemma3.attention.head_count", 4);
  builder.set_u32("gemma3.attention.head_count_kv", 1);
  builder.set_u32("gemma3.attention.key_length", 256);
  builder.set_u32("gemma3.attention.value_length", 256);
  builder.set_f32("gemma3.attention.layer_norm_rms_epsilon", 1e-6f);
  builder.set_u32("gemma3.attention.sliding_window", 512);
  builder.set_f32("gemma3.rope.freq_base", 1e6f);
  builder.set_u32("tokenizer.ggml.bos_token_id", 2);
  builder.set_u32("tokenizer.ggml.eos_token_id", 1);
  return builder;
}

GgufBuilder llama_cpp_4b() {
  GgufBuilder builder = llama_cpp_1b();
  builder.set_u32("gemma3.context_length", 131072);
  builder.set_u32("gemma3.block_count", 34);
  builder.set_string("gemma3.rope.scaling.type", "linear");
  builder.set_f32("gemma3.rope.scaling.factor", 8);
  return builder;
}

Result<ModelConfig> parse(const GgufBuilder& builder, int64_t rows = 262144) {
  const std::string bytes = builder.bytes();
  CARAT_TRY(const GgufFile file, GgufFile::parse(std::as_bytes(std::span(bytes)), "m.gguf"));
  std::vector<std::string> notes;
  CARAT_TRY(ModelConfig config, parse_gguf_config(file, rows, notes));
  CARAT_CHECK(validate(config, "m.gguf"));
  return config;
}

TEST(GgufConfig, LlamaCpp) {
  const Result<ModelConfig> config = parse(llama_cpp_1b());
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->name, "Gemma 3 1b It");
  EXPECT_EQ(config->layers, 26);
  EXPECT_EQ(config->width, 1152);
  EXPECT_EQ(config->ffn_width, 6912);
  EXPECT_EQ(config->heads, 4);
  EXPECT_EQ(config->kv_heads, 1);
  EXPECT_EQ(config->head_size, 256);
  EXPECT_EQ(config->vocabulary, 262144);
  EXPECT_EQ(config->context_length, 32768);
  EXPECT_EQ(config->window, 512);
  EXPECT_EQ(config->query_scale, 0.0625f);
  EXPECT_EQ(config->embedding_scale, 34);
  EXPECT_EQ(config->rope_base_global, 1e6f);
  EXPECT_EQ(config->rope_base_local, 1e4f);
  EXPECT_EQ(config->rope_factor_global, 1);
  EXPECT_EQ(config->is_global, global_layers(26, 6));
  EXPECT_EQ(config->eos_ids, (std::vector<int32_t>{1}));
  EXPECT_EQ(parse(llama_cpp_4b())->rope_factor_global, 8);
}

TEST(GgufConfig, GoogleQatIsObeyed) {
  GgufBuilder builder = llama_cpp_1b();
  builder.set_u32("gemma3.attention.sliding_window", 1024);
  builder.set_string("gemma3.rope.scaling.type", "linear");
  builder.set_f32("gemma3.rope.scaling.factor", 1);
  builder.set_u32("tokenizer.ggml.eos_token_id", 106);
  const Result<ModelConfig> config = parse(builder);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->window, 1024);
  EXPECT_EQ(config->rope_factor_global, 1);
  EXPECT_EQ(config->eos_ids, (std::vector<int32_t>{106}));
}

TEST(GgufConfig, OllamaSmall) {
  GgufBuilder builder = llama_cpp_1b();
  builder.erase("gemma3.rope.freq_base");
  builder.erase("gemma3.attention.layer_norm_rms_epsilon");
  builder.set_f32("gemma3.rope.global.freq_base", 5e5f);
  builder.set_f32("gemma3.rope.local.freq_base", 2e4f);
  const Result<ModelConfig> config = parse(builder);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->rope_base_global, 5e5f);
  EXPECT_EQ(config->rope_base_local, 2e4f);
  EXPECT_EQ(config->norm_epsilon, 1e-6f);
}

TEST(GgufConfig, OllamaLargeWithoutScalingIsScaledByEight) {
  GgufBuilder builder = llama_cpp_4b();
  for (const char* key : {"gemma3.rope.scaling.type", "gemma3.rope.scaling.factor", "gemma3.rope.freq_base",
                          "gemma3.attention.key_length", "gemma3.attention.value_length"}) {
    builder.erase(key);
  }
  const Result<ModelConfig> config = parse(builder);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->rope_factor_global, 8);
  EXPECT_EQ(config->rope_base_global, 1e6f);
  EXPECT_EQ(config->head_size, 256);
  builder.set_string("gemma3.rope.scaling.type", "none");
  EXPECT_EQ(parse(builder)->rope_factor_global, 1);
}

TEST(GgufConfig, PatternsOfBothKinds) {
  GgufBuilder builder = llama_cpp_1b();
  builder.set_u32("gemma3.attention.sliding_window_pattern", 3);
  EXPECT_EQ(parse(builder)->is_global, global_layers(26, 3));
  std::vector<uint8_t> sliding(26, 1);
  sliding[4] = 0;
  builder.set_bools("gemma3.attention.sliding_window_pattern", sliding);
  const Result<ModelConfig> config = parse(builder);
  ASSERT_TRUE(config.ok()) << config.error().message;
  for (size_t i = 0; i < 26; ++i) EXPECT_EQ(config->is_global[i], i == 4);
  sliding.pop_back();
  builder.set_bools("gemma3.attention.sliding_window_pattern", sliding);
  EXPECT_TRUE(fails_with(parse(builder), ErrorCode::kCorruptFile, {"attention pattern is 25 entries"}));
}

TEST(GgufConfig, TheLargestModelHasItsOwnQueryScale) {
  GgufBuilder builder = llama_cpp_4b();
  builder.set_u32("gemma3.block_count", 62);
  builder.set_u32("gemma3.attention.key_length", 128);
  builder.set_u32("gemma3.attention.value_length", 128);
  EXPECT_FLOAT_EQ(parse(builder)->query_scale, 0.0771516749f);
}

TEST(GgufConfig, RowsBeyondTheVocabularyAreNeverSampled) {
  EXPECT_EQ(parse(llama_cpp_4b(), 262208)->vocabulary, 262144);
  EXPECT_TRUE(fails_with(parse(llama_cpp_1b(), 2), ErrorCode::kCorruptFile, {"bos_id is 2"}));
}

TEST(GgufConfig, StopsOfAllKeys) {
  GgufBuilder builder = llama_cpp_1b();
  builder.set_u32("tokenizer.ggml.eot_token_id", 50);
  builder.set_i32s("tokenizer.ggml.eos_token_ids", {1, 106, 60});
  EXPECT_EQ(parse(builder)->eos_ids, (std::vector<int32_t>{1, 50, 60, 106}));
  builder.set_i32s("tokenizer.ggml.eos_token_ids", {1, -7});
  EXPECT_TRUE(fails_with(parse(builder), ErrorCode::kCorruptFile, {"eos_id is -7"}));
}

// Metadata of the 1B as Ollama's library has it: a cap that its own engine leaves out again.
TEST(GgufConfig, OllamasWrongCapIsPutRightAndTold) {
  GgufBuilder builder = llama_cpp_1b();
  builder.set_f32("gemma3.final_logit_softcapping", 30);
  const std::string bytes = builder.bytes();
  std::vector<std::string> notes;
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "m.gguf");
  ASSERT_TRUE(parse_gguf_config(*file, 262144, notes).ok());
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("final_logit_softcapping is 30"), std::string::npos);
}

TEST(GgufConfig, TheQatWindowIsToldAndNeutralArithmeticPasses) {
  GgufBuilder builder = llama_cpp_1b();
  builder.set_u32("gemma3.attention.sliding_window", 1024);
  builder.set_f32("gemma3.attn_logit_softcapping", 0);
  builder.set_f32("gemma3.logit_scale", 1);
  builder.set_u32("gemma3.rope.dimension_count", 256);
  builder.set_bool("tokenizer.ggml.add_bos_token", false);
  builder.set_string("gemma3.vision.whatever", "is not text");
  const std::string bytes = builder.bytes();
  std::vector<std::string> notes;
  const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "m.gguf");
  const auto config = parse_gguf_config(*file, 262144, notes);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_FALSE(config->adds_bos);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("1024"), std::string::npos);
}

// Names in the place of Gemma's pieces, with a few at chosen ids.
GgufBuilder with_tokens(size_t count, const std::map<size_t, std::pair<std::string, int32_t>>& named) {
  GgufBuilder builder = llama_cpp_1b();
  std::vector<std::string> pieces(count);
  std::vector<int32_t> types(count, 1);
  for (size_t id = 0; id < count; ++id) pieces[id] = "p" + std::to_string(id);
  for (const auto& [id, token] : named) std::tie(pieces[id], types[id]) = token;
  builder.set_strings("tokenizer.ggml.tokens", pieces);
  builder.set_f32s("tokenizer.ggml.scores", std::vector<float>(count));
  builder.set_i32s("tokenizer.ggml.token_type", types);
  return builder;
}

TEST(GgufConfig, EndsAreFoundByPieceNotByNumber) {
  // 1 and 106 are ordinary pieces here, and the turn's end lies elsewhere.
  GgufBuilder builder = with_tokens(1000, {{3, {"<eos>", 3}}, {4, {"<bos>", 3}}, {50, {"<end_of_turn>", 3}}});
  builder.erase("tokenizer.ggml.bos_token_id");
  builder.set_u32("tokenizer.ggml.eos_token_id", 3);
  const Result<ModelConfig> config = parse(builder, 1000);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->eos_ids, (std::vector<int32_t>{3, 50}));
  EXPECT_EQ(config->bos_id, 4);
  const Result<ModelConfig> plain = parse(with_tokens(1000, {}), 1000);
  EXPECT_EQ(plain->eos_ids, (std::vector<int32_t>{1}));  // as the file declares
}

TEST(GgufConfig, TokensOfAFineTuneAreCarried) {
  const std::string soft = "<image_soft_token>";
  const Result<ModelConfig> config = parse(with_tokens(262208, {{262144, {soft, 3}},
                                                                {262145, {"<think>", 4}},
                                                                {262146, {"[PAD262146]", 5}},
                                                                {262147, {"<|im_end|>", 3}},
                                                                {262148, {"[PAD262148]", 5}},
                                                                {262207, {"[PAD262207]", 1}}}),
                                           262208);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->vocabulary, 262207);  // p262206 is the last one with a name
  EXPECT_EQ(config->barred_ids, (std::vector<int32_t>{262144, 262146, 262148}));
  EXPECT_EQ(config->eos_ids, (std::vector<int32_t>{1, 262147}));
}

TEST(GgufConfig, ATokenWithoutARowIsAnError) {
  EXPECT_EQ(parse(with_tokens(262145, {{262144, {"<image_soft_token>", 3}}}), 262144)->vocabulary, 262144);  // Ollama's
  EXPECT_TRUE(
      fails_with(parse(with_tokens(262146, {{262144, {"<image_soft_token>", 3}}, {262145, {"<think>", 4}}}), 262144),
                 ErrorCode::kCorruptFile, {"'<think>' with the id 262145", "262144 rows"}));
}

TEST(GgufConfig, AnInstructionTunedModelIsRecognised) {
  const auto tuned = [](const GgufBuilder& builder) {
    const std::string bytes = builder.bytes();
    return *is_instruction_tuned(*GgufFile::parse(std::as_bytes(std::span(bytes)), "m.gguf"));
  };
  GgufBuilder builder = with_tokens(200, {{106, {"<end_of_turn>", 3}}});
  EXPECT_FALSE(tuned(builder));  // ends with <eos> only: a base model
  builder.set_u32("tokenizer.ggml.eos_token_id", 106);
  EXPECT_TRUE(tuned(builder));
  builder.set_u32("tokenizer.ggml.eos_token_id", 1);
  builder.set_i32s("tokenizer.ggml.eos_token_ids", {1, 106});
  EXPECT_TRUE(tuned(builder));
  builder.set_string("general.finetune", "pt");
  EXPECT_FALSE(tuned(builder));
  builder = with_tokens(200, {});
  builder.set_u32("tokenizer.ggml.eos_token_id", 106);
  EXPECT_FALSE(tuned(builder));  // an ordinary piece here
  for (const char* finetune : {"it", "it-qat", "Instruct", "chat-v2"}) {
    builder.set_string("general.finetune", finetune);
    EXPECT_TRUE(tuned(builder)) << finetune;
  }
  builder.set_string("general.finetune", "italian");
  EXPECT_FALSE(tuned(builder));
}

struct Change {
  const char* named;  // what the error must name
  ErrorCode code;
  std::function<void(GgufBuilder&)> spoil;
};

TEST(GgufConfig, EveryBadFieldIsNamed) {
  constexpr ErrorCode kCorrupt = ErrorCode::kCorruptFile, kUnsupported = ErrorCode::kUnsupported;
  std::vector<Change> changes{
      {"'llama'", kUnsupported, [](GgufBuilder& b) { b.set_string("general.architecture", "llama"); }},
      {"adapter (LoRA)", kUnsupported, [](GgufBuilder& b) { b.set_string("general.type", "adapter"); }},
      {"mmproj", kUnsupported, [](GgufBuilder& b) { b.set_string("general.architecture", "clip"); }},
      {"not a Gemma 3 model", kUnsupported, [](GgufBuilder& b) { b.erase("general.architecture"); }},
      {"final_logit_softcapping", kUnsupported,
       [](GgufBuilder& b) { b.set_f32("gemma3.final_logit_softcapping", 25); }},
      {"attn_logit_softcapping", kUnsupported, [](GgufBuilder& b) { b.set_f32("gemma3.attn_logit_softcapping", 30); }},
      {"final_logit_softcapping", kUnsupported,
       [](GgufBuilder& b) {  // not Google's shape: Rnj-1 really caps
         b.set_f32("gemma3.final_logit_softcapping", 30);
         b.set_u32("gemma3.block_count", 32);
       }},
      {"rope.scaling.yarn_beta", kUnsupported, [](GgufBuilder& b) { b.set_f32("gemma3.rope.scaling.yarn_beta", 1); }},
      {"attention.relative_buckets", kUnsupported,
       [](GgufBuilder& b) { b.set_u32("gemma3.attention.relative_buckets", 32); }},
      {"logit_scale", kCorrupt, [](GgufBuilder& b) { b.set_f32("gemma3.logit_scale", 0.5f); }},
      {"rope.dimension_count", kCorrupt, [](GgufBuilder& b) { b.set_u32("gemma3.rope.dimension_count", 128); }},
      {"expert_count", kCorrupt, [](GgufBuilder& b) { b.set_u32("gemma3.expert_count", 8); }},
      {"add_eos_token", kUnsupported, [](GgufBuilder& b) { b.set_bool("tokenizer.ggml.add_eos_token", true); }},
      {"add_space_prefix", kUnsupported, [](GgufBuilder& b) { b.set_bool("tokenizer.ggml.add_space_prefix", true); }},
      {"attention.causal", kUnsupported, [](GgufBuilder& b) { b.set_bool("gemma3.attention.causal", false); }},
      {"layer count", kCorrupt, [](GgufBuilder& b) { b.set_u32("gemma3.block_count", 0); }},
      {"layer count", kCorrupt, [](GgufBuilder& b) { b.set_u32("gemma3.block_count", 1'000'000'000); }},
      {"block_count", kCorrupt, [](GgufBuilder& b) { b.set_u32("gemma3.block_count", 4'000'000'000u); }},
      {"head count", kCorrupt, [](GgufBuilder& b) { b.set_u32("gemma3.attention.head_count", 0); }},
      {"kv head count", kCorrupt, [](GgufBuilder& b) { b.set_u32("gemma3.attention.head_count_kv", 0); }},
      {"value_length", kCorrupt, [](GgufBuilder& b) { b.set_u32("gemma3.attention.value_length", 128); }},
      {"head size", kCorrupt,
       [](GgufBuilder& b) {
         b.set_u32("gemma3.attention.key_length", 0);
         b.set_u32("gemma3.attention.value_length", 0);
       }},
      {"sliding window", kCorrupt, [](GgufBuilder& b) { b.set_u32("gemma3.attention.sliding_window", 0); }},
      {"global rope base", kCorrupt, [](GgufBuilder& b) { b.set_f32("gemma3.rope.freq_base", 0); }},
      {"rope.freq_base", kCorrupt, [](GgufBuilder& b) { b.set_f32("gemma3.rope.freq_base", NAN); }},
      {"yarn", kCorrupt, [](GgufBuilder& b) { b.set_string("gemma3.rope.scaling.type", "yarn"); }},
      {"rope scaling factor", kCorrupt, [](GgufBuilder& b) { b.set_f32("gemma3.rope.scaling.factor", 0); }},
      {"norm epsilon", kCorrupt, [](GgufBuilder& b) { b.set_f32("gemma3.attention.layer_norm_rms_epsilon", 0); }},
      {"sliding_window_pattern", kCorrupt,
       [](GgufBuilder& b) { b.set_u32("gemma3.attention.sliding_window_pattern", 0); }},
      {"bos_id", kCorrupt, [](GgufBuilder& b) { b.set_u32("tokenizer.ggml.bos_token_id", 262144); }},
      {"eos_id", kCorrupt, [](GgufBuilder& b) { b.set_u32("tokenizer.ggml.eos_token_id", 2'000'000'000); }},
  };
  for (const char* key : {"context_length", "embedding_length", "block_count", "feed_forward_length",
                          "attention.head_count", "attention.head_count_kv", "attention.sliding_window"}) {
    changes.push_back({key, kCorrupt, [key](GgufBuilder& b) { b.erase(std::string("gemma3.") + key); }});
    changes.push_back({key, kCorrupt, [key](GgufBuilder& b) { b.set_string(std::string("gemma3.") + key, "9"); }});
  }
  for (size_t i = 0; i < changes.size(); ++i) {
    GgufBuilder builder = llama_cpp_1b();
    changes[i].spoil(builder);
    EXPECT_TRUE(fails_with(parse(builder), changes[i].code, {"m.gguf: ", changes[i].named})) << "case " << i;
  }
}

Result<VocabularyView> vocabulary(const GgufBuilder& builder, int32_t size) {
  static std::string bytes;  // the views point into it
  bytes = builder.bytes();
  CARAT_TRY(const GgufFile file, GgufFile::parse(std::as_bytes(std::span(bytes)), "m.gguf"));
  return read_gguf_vocabulary(file, size);
}

GgufBuilder small_vocabulary() {
  GgufBuilder builder;
  builder.set_string("tokenizer.ggml.model", "llama");
  builder.set_strings("tokenizer.ggml.tokens", {"<pad>", "<eos>", "<bos>", "a", "extra"});
  builder.set_f32s("tokenizer.ggml.scores", {-1000, -1000, -1000, -4, -5});
  builder.set_i32s("tokenizer.ggml.token_type", {3, 3, 3, 1, 5});
  return builder;
}

TEST(GgufVocabulary, IsCutToTheRows) {
  const Result<VocabularyView> view = vocabulary(small_vocabulary(), 4);
  ASSERT_TRUE(view.ok()) << view.error().message;
  EXPECT_EQ(view->pieces, (std::vector<std::string_view>{"<pad>", "<eos>", "<bos>", "a"}));
  EXPECT_EQ(view->scores, (std::vector<float>{-1000, -1000, -1000, -4}));
  EXPECT_EQ(view->types, (std::vector<uint8_t>{3, 3, 3, 1}));
}

TEST(GgufVocabulary, MayBeAbsent) {
  const Result<VocabularyView> view = vocabulary(GgufBuilder(), 4);
  ASSERT_TRUE(view.ok());
  EXPECT_TRUE(view->pieces.empty());
}

TEST(GgufVocabulary, EveryBadArrayIsNamed) {
  EXPECT_TRUE(fails_with(vocabulary(small_vocabulary(), 6), ErrorCode::kCorruptFile, {"tokenizer.ggml.tokens is 5"}));
  const std::vector<std::pair<const char*, std::function<void(GgufBuilder&)>>> changes{
      {"tokenizer.ggml.scores is 0", [](GgufBuilder& b) { b.erase("tokenizer.ggml.scores"); }},
      {"tokenizer.ggml.scores is 1", [](GgufBuilder& b) { b.set_f32s("tokenizer.ggml.scores", {1}); }},
      {"tokenizer.ggml.scores[3]",
       [](GgufBuilder& b) {
         b.set_f32s("tokenizer.ggml.scores", {0, 0, 0, NAN, 0});
       }},
      {"tokenizer.ggml.token_type is 0", [](GgufBuilder& b) { b.erase("tokenizer.ggml.token_type"); }},
      {"tokenizer.ggml.token_type[1]",
       [](GgufBuilder& b) {
         b.set_i32s("tokenizer.ggml.token_type", {3, 9, 3, 1, 1});
       }},
      {"tokenizer.ggml.token_type[0]",
       [](GgufBuilder& b) {
         b.set_i32s("tokenizer.ggml.token_type", {-1, 3, 3, 1, 1});
       }},
  };
  for (const auto& [named, spoil] : changes) {
    GgufBuilder builder = small_vocabulary();
    spoil(builder);
    EXPECT_TRUE(fails_with(vocabulary(builder, 4), ErrorCode::kCorruptFile, {named, "expected"})) << named;
  }
  GgufBuilder builder = small_vocabulary();
  builder.set_string("tokenizer.ggml.model", "gpt2");
  EXPECT_TRUE(fails_with(vocabulary(builder, 4), ErrorCode::kUnsupported, {"gpt2"}));
}

TEST(GgufQuantisation, ByFileTypeOrByTheLargestShare) {
  GgufBuilder builder;
  builder.add_tensor("a", DType::kF32, 1, 32, std::string(128, '\0'));
  builder.add_tensor("b", DType::kQ4_0, 2, 32, std::string(36, '\0'));
  const auto name = [&] {
    const std::string bytes = builder.bytes();
    return *gguf_quantisation(*GgufFile::parse(std::as_bytes(std::span(bytes)), "m.gguf"));
  };
  EXPECT_EQ(name(), "mixed Q4_0");
  builder.set_u32("general.file_type", 15);
  EXPECT_EQ(name(), "Q4_K_M");
  builder.set_u32("general.file_type", 9999);
  EXPECT_EQ(name(), "mixed Q4_0");
}

TEST(GgufSampling, ValuesAreChecked) {
  const auto sampling = [](const GgufBuilder& builder) {
    const std::string bytes = builder.bytes();
    return read_gguf_sampling(*GgufFile::parse(std::as_bytes(std::span(bytes)), "m.gguf"));
  };
  GgufBuilder builder;
  EXPECT_FALSE(sampling(builder)->top_k.has_value());
  builder.set_f32("general.sampling.temp", 1);
  builder.set_u32("general.sampling.top_k", 64);
  builder.set_f32("general.sampling.top_p", 0.95f);
  EXPECT_EQ(sampling(builder)->temperature, 1.0f);
  EXPECT_EQ(sampling(builder)->top_k, 64);
  EXPECT_EQ(sampling(builder)->top_p, 0.95f);
  builder.set_f32("general.sampling.min_p", 0.05f);
  builder.set_f32("general.sampling.penalty_repeat", 1.1f);
  EXPECT_EQ(sampling(builder)->min_p, 0.05f);
  EXPECT_EQ(sampling(builder)->repetition_penalty, 1.1f);
  builder.set_u32("general.sampling.mirostat", 2);
  EXPECT_TRUE(fails_with(sampling(builder), ErrorCode::kUnsupported, {"mirostat"}));
  builder.set_u32("general.sampling.mirostat", 0);
  builder.set_f32("general.sampling.top_p", 1.5f);
  EXPECT_TRUE(fails_with(sampling(builder), ErrorCode::kCorruptFile, {"general.sampling.top_p"}));
}

}  // namespace
}  // namespace carat::test
