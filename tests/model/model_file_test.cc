#include "model/model_file.h"

#include <sys/stat.h>

#include <array>
#include <functional>

#include "base/json.h"
#include "formats/dequant.h"
#include "model/fixture.h"
#include "model/reference.h"
#include "model/tensors.h"
#include "support/compare.h"
#include "support/gguf_builder.h"

namespace carat::test {
namespace {

// The text fixture as a GGUF file in float32, norms as 1 + w: the same numbers in the other format.
GgufBuilder fixture_as_gguf(const ModelFile& model) {
  const ModelConfig& c = model.config;
  GgufBuilder builder;
  builder.set_string("general.architecture", "gemma3");
  builder.set_string("general.name", "tiny");
  builder.set_u32("gemma3.context_length", static_cast<uint32_t>(c.context_length));
  builder.set_u32("gemma3.embedding_length", static_cast<uint32_t>(c.width));
  builder.set_u32("gemma3.block_count", static_cast<uint32_t>(c.layers));
  builder.set_u32("gemma3.feed_forward_length", static_cast<uint32_t>(c.ffn_width));
  builder.set_u32("gemma3.attention.head_count", static_cast<uint32_t>(c.heads));
  builder.set_u32("gemma3.attention.head_count_kv", static_cast<uint32_t>(c.kv_heads));
  builder.set_u32("gemma3.attention.key_length", static_cast<uint32_t>(c.head_size));
  builder.set_u32("gemma3.attention.sliding_window", static_cast<uint32_t>(c.window));
  const auto add = [&](const std::string& name, const TensorView& tensor, bool is_norm) {
    std::vector<float> values(static_cast<size_t>(tensor.elements()));
    dequantize(tensor.type, tensor.data.data(), values.data(), tensor.elements());
    if (is_norm) values = norm_multipliers(model.weights, tensor);
    builder.add_tensor(name, DType::kF32, is_norm ? 0 : static_cast<uint64_t>(tensor.rows),
                       static_cast<uint64_t>(tensor.columns),
                       {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  };
  add("token_embd.weight", model.weights.embedding, false);
  add("output_norm.weight", model.weights.final_norm, true);
  for (size_t i = 0; i < model.weights.layers.size(); ++i) {
    const LayerWeights& w = model.weights.layers[i];
    const std::string prefix = "blk." + std::to_string(i) + ".";
    for (const auto& [name, tensor] :
         std::vector<std::pair<std::string, const TensorView*>>{{"attn_q", &w.q},
                                                                {"attn_k", &w.k},
                                                                {"attn_v", &w.v},
                                                                {"attn_output", &w.attn_out},
                                                                {"ffn_gate", &w.gate},
                                                                {"ffn_up", &w.up},
                                                                {"ffn_down", &w.down}}) {
      add(prefix + name + ".weight", *tensor, false);
    }
    for (const auto& [name, tensor] :
         std::vector<std::pair<std::string, const TensorView*>>{{"attn_norm", &w.attn_norm},
                                                                {"attn_q_norm", &w.q_norm},
                                                                {"attn_k_norm", &w.k_norm},
                                                                {"post_attention_norm", &w.post_attn_norm},
                                                                {"ffn_norm", &w.ffn_norm},
                                                                {"post_ffw_norm", &w.post_ffn_norm}}) {
      add(prefix + name + ".weight", *tensor, true);
    }
  }
  return builder;
}

ModelFile open_fixture() { return std::move(*ModelFile::open(golden("gemma3-tiny-text"))); }

std::vector<float> logits_of(const ModelFile& model) {
  const ReferenceForward reference(model.config, model.weights);
  GrowingKv kv(model.config);
  std::vector<int32_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 23 % 1024);
  return reference.forward(ids, 0, std::array{0, 20, 39}, kv);
}

TEST(ModelFile, OpensAHuggingFaceDirectory) {
  const ModelFile model = open_fixture();
  EXPECT_EQ(model.config.name, "gemma3-tiny-text");
  EXPECT_EQ(model.config.layers, 8);
  EXPECT_EQ(model.config.vocabulary, 1024);
  EXPECT_EQ(model.config.is_global, global_layers(8, 6));
  EXPECT_EQ(model.config.eos_ids, (std::vector<int32_t>{1}));
  EXPECT_EQ(model.quantisation, "BF16");
  EXPECT_TRUE(model.weights.norm_plus_one);
  EXPECT_TRUE(model.vocabulary.pieces.empty());
  EXPECT_TRUE(model.tokenizer_json.empty());
  EXPECT_FALSE(model.has_chat_template);
  EXPECT_EQ(model.parameters, 4728064u);
}

TEST(ModelFile, BothFormatsOfOneModelGiveTheSameBits) {
  const ModelFile directory = open_fixture();
  const TemporaryDirectory temporary;
  const auto path = temporary.path() / "sha256-0123";  // no suffix, as in a content-addressed store
  fixture_as_gguf(directory).write(path);
  const Result<ModelFile> gguf = ModelFile::open(path);
  ASSERT_TRUE(gguf.ok()) << gguf.error().message;
  EXPECT_FALSE(gguf->weights.norm_plus_one);
  EXPECT_EQ(gguf->quantisation, "mixed F32");
  EXPECT_EQ(gguf->parameters, directory.parameters);
  EXPECT_EQ(gguf->file_bytes, std::filesystem::file_size(path));
  EXPECT_TRUE(same_bits(logits_of(*gguf), logits_of(directory)));
}

TEST(ModelFile, WeightsOutliveTheOpening) {
  const TemporaryDirectory temporary;
  fixture_as_gguf(open_fixture()).write(temporary.path() / "m.gguf");
  ModelFile model = std::move(*ModelFile::open(temporary.path() / "m.gguf"));
  std::filesystem::remove(temporary.path() / "m.gguf");
  EXPECT_EQ(logits_of(model).size(), 3u * 1024);
}

TEST(ModelFile, GgufErrorsNameTheTensor) {
  const TemporaryDirectory temporary;
  const GgufBuilder whole = fixture_as_gguf(open_fixture());
  const auto open = [&](const GgufBuilder& builder) {
    builder.write(temporary.path() / "m.gguf");
    return ModelFile::open(temporary.path() / "m.gguf");
  };
  GgufBuilder builder = whole;
  builder.erase_tensor("blk.5.ffn_up.weight");
  EXPECT_TRUE(fails_with(open(builder), ErrorCode::kCorruptFile, {"m.gguf", "blk.5.ffn_up.weight is missing"}));
  builder = whole;
  builder.erase_tensor("token_embd.weight");
  EXPECT_TRUE(fails_with(open(builder), ErrorCode::kCorruptFile, {"m.gguf", "embedding is missing"}));
  builder = whole;
  builder.set_u32("gemma3.embedding_length", 128);
  EXPECT_TRUE(fails_with(open(builder), ErrorCode::kCorruptFile, {"token_embd.weight is [1024, 256]", "128"}));
  builder = whole;
  builder.set_u32("gemma3.block_count", 9);
  EXPECT_TRUE(fails_with(open(builder), ErrorCode::kCorruptFile, {"blk.8."}));
  builder = whole;
  builder.set_string("general.architecture", "qwen3");
  EXPECT_TRUE(fails_with(open(builder), ErrorCode::kUnsupported, {"qwen3"}));
}

TEST(ModelFile, ThingsThatAreNoModel) {
  const TemporaryDirectory temporary;
  EXPECT_TRUE(fails_with(ModelFile::open(temporary.path() / "nowhere.gguf"), ErrorCode::kNotFound, {"nowhere.gguf"}));
  EXPECT_TRUE(fails_with(ModelFile::open(temporary.path()), ErrorCode::kNotFound, {"config.json"}));
  temporary.write("text.gguf", "This is not a model.");
  EXPECT_TRUE(fails_with(ModelFile::open(temporary.path() / "text.gguf"), ErrorCode::kCorruptFile, {"text.gguf"}));
}

// A directory with the fixture's weights and a config.json of the test's making.
class DirectoryWith {
 public:
  explicit DirectoryWith(const std::function<void(nlohmann::json&)>& change) {
    std::filesystem::create_symlink(golden("gemma3-tiny-text") / "model.safetensors",
                                    directory_.path() / "model.safetensors");
    std::ifstream file(golden("gemma3-tiny-text") / "config.json");
    nlohmann::json config = nlohmann::json::parse(file);
    change(config);
    directory_.write("config.json", config.dump());
  }
  Result<ModelFile> open() const { return ModelFile::open(directory_.path()); }
  const TemporaryDirectory& directory() const { return directory_; }

 private:
  TemporaryDirectory directory_;
};

TEST(ModelFile, DirectoryErrorsNameTheField) {
  using nlohmann::json;
  EXPECT_TRUE(fails_with(DirectoryWith([](json& c) { c["vocab_size"] = 1000; }).open(), ErrorCode::kCorruptFile,
                         {"vocab_size is 1000", "1024"}));
  EXPECT_TRUE(fails_with(DirectoryWith([](json& c) { c["num_attention_heads"] = 0; }).open(), ErrorCode::kCorruptFile,
                         {"config.json: head count is 0"}));
  EXPECT_TRUE(fails_with(DirectoryWith([](json& c) { c["num_hidden_layers"] = 7; }).open(), ErrorCode::kCorruptFile,
                         {"attention pattern is 8 entries"}));
  EXPECT_TRUE(fails_with(DirectoryWith([](json& c) { c["num_key_value_heads"] = 2; }).open(), ErrorCode::kCorruptFile,
                         {"k_proj.weight is [64, 256], expected [128, 256]"}));
  EXPECT_TRUE(fails_with(DirectoryWith([](json& c) { c["eos_token_id"] = 5000; }).open(), ErrorCode::kCorruptFile,
                         {"eos_id is 5000"}));
}

TEST(ModelFile, DirectoryExtrasAreFound) {
  const DirectoryWith model([](nlohmann::json&) {});
  model.directory().write("tokenizer.json", "{}");
  model.directory().write("tokenizer_config.json", R"({"bos_token": "<bos>", "chat_template": "{{ bos_token }}"})");
  model.directory().write("generation_config.json", R"({"eos_token_id": [1, 106, 9], "top_k": 64, "top_p": 0.95})");
  const Result<ModelFile> opened = model.open();
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(opened->tokenizer_json.filename(), "tokenizer.json");
  EXPECT_TRUE(opened->tokenizer_model.empty());
  EXPECT_TRUE(opened->has_chat_template);
  EXPECT_EQ(opened->sampling.top_k, 64);
  EXPECT_EQ(opened->config.eos_ids, (std::vector<int32_t>{1, 9, 106}));
  EXPECT_EQ(logits_of(*opened), logits_of(open_fixture()));
}

TEST(ModelFile, TheChatTemplateIsReadFromWhicheverFileHoldsIt) {
  const DirectoryWith model([](nlohmann::json&) {});
  const TemporaryDirectory& folder = model.directory();
  folder.write("tokenizer_config.json", R"({"chat_template": null})");
  EXPECT_FALSE(model.open()->has_chat_template);
  folder.write("tokenizer_config.json",
               R"({"chat_template": [{"name": "tool", "template": "T"}, {"name": "default", "template": "D"}]})");
  EXPECT_EQ(model.open()->chat_template, "D");
  folder.write("tokenizer_config.json", R"({"chat_template": [{"name": "tool", "template": "T"}]})");
  EXPECT_TRUE(fails_with(model.open(), ErrorCode::kCorruptFile, {"chat_template", "default"}));
  folder.write("tokenizer_config.json", R"({"chat_template": 7})");
  EXPECT_TRUE(fails_with(model.open(), ErrorCode::kCorruptFile, {"chat_template is 7"}));
  folder.write("tokenizer_config.json", R"({"chat_template": "C"})");
  folder.write("chat_template.jinja", "J");
  EXPECT_EQ(model.open()->chat_template, "J");
  folder.write("tokenizer_config.json", R"({"add_eos_token": true})");
  EXPECT_TRUE(fails_with(model.open(), ErrorCode::kCorruptFile, {"add_eos_token"}));
}

TEST(ModelFile, TokensOfADirectoryAreFoundByPiece) {
  const DirectoryWith model([](nlohmann::json& c) { c["eos_token_id"] = 7; });
  model.directory().write("tokenizer.json", R"({"version": "1.0", "added_tokens": [
      {"id": 7, "content": "<eos>", "special": true}, {"id": 9, "content": "<end_of_turn>", "special": true},
      {"id": 11, "content": "<stop>", "special": true}], "model": {"vocab": )" +
                                                std::string(100, ' '));  // the rest is not read
  model.directory().write("tokenizer_config.json", R"({"eos_token": {"content": "<stop>"}})");
  const Result<ModelFile> opened = model.open();
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(opened->config.eos_ids, (std::vector<int32_t>{7, 9, 11}));
  EXPECT_FALSE(opened->has_chat_template);
  model.directory().write("generation_config.json", R"({"eos_token_id": [7, 9]})");
  EXPECT_TRUE(model.open()->has_chat_template);  // it declares <end_of_turn>
  EXPECT_EQ(model.open()->notes.size(), 1u);
}

TEST(ModelFile, ABaseModelMayDeclareTheEndOfATurnInItsConfig) {
  const DirectoryWith model([](nlohmann::json& c) { c["eos_token_id"] = {7, 9}; });
  model.directory().write("tokenizer.json",
                          R"({"added_tokens": [{"id": 9, "content": "<end_of_turn>", "special": true}]})");
  EXPECT_TRUE(model.open()->has_chat_template) << "nothing says otherwise";
  model.directory().write("tokenizer_config.json", R"({"bos_token": "<bos>"})");
  EXPECT_FALSE(model.open()->has_chat_template) << "Google's instruction-tuned ones have a template there";
  model.directory().write("generation_config.json", R"({"eos_token_id": 7})");
  EXPECT_FALSE(model.open()->has_chat_template);
  model.directory().write("generation_config.json", R"({"eos_token_id": [7, 9]})");
  EXPECT_TRUE(model.open()->has_chat_template) << "whoever generates with it ends at turns";
}

TEST(ModelFile, DirectoriesThatHoldSomethingElseSayWhatToDo) {
  const std::vector<std::pair<const char*, const char*>> kinds{{"adapter_config.json", "merge it"},
                                                               {"pytorch_model.bin", "safe_serialization"},
                                                               {"pytorch_model-00001-of-00002.bin", "pickled"},
                                                               {"consolidated.00.pth", "pickled"},
                                                               {"flax_model.msgpack", "another framework"},
                                                               {"gemma-3-1b-it-Q4_K_M.gguf", "name the file"}};
  for (const auto& [name, words] : kinds) {
    const TemporaryDirectory folder;
    folder.write(name, "x");
    EXPECT_TRUE(fails_with(ModelFile::open(folder.path()), ErrorCode::kUnsupported, {words})) << name;
    folder.write("config.json", "{}");
    EXPECT_TRUE(fails_with(ModelFile::open(folder.path()), ErrorCode::kUnsupported, {words})) << name;
  }
}

TEST(ModelFile, EveryFileThatIsAGitLfsPointerIsCalledOne) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 1000\n";
  const TemporaryDirectory alone;
  alone.write("m.gguf", pointer);
  EXPECT_TRUE(fails_with(ModelFile::open(alone.path() / "m.gguf"), ErrorCode::kCorruptFile, {"Git LFS pointer"}));
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                           "chat_template.jinja", "chat_template.json", "model.safetensors"}) {
    const DirectoryWith model([](nlohmann::json&) {});
    std::filesystem::remove(model.directory().path() / name);
    model.directory().write(name, pointer);
    EXPECT_TRUE(fails_with(model.open(), ErrorCode::kCorruptFile, {name, "Git LFS pointer"})) << name;
  }
}

TEST(ModelFile, WhatIsNoRegularFileIsNoModel) {
  const TemporaryDirectory folder;
  ASSERT_EQ(::mkfifo((folder.path() / "x.gguf").c_str(), 0600), 0);
  EXPECT_TRUE(fails_with(ModelFile::open(folder.path() / "x.gguf"), ErrorCode::kIo, {"it is a FIFO, expected a file"}));
  const DirectoryWith model([](nlohmann::json&) {});
  ASSERT_EQ(::mkfifo((model.directory().path() / "generation_config.json").c_str(), 0600), 0);
  EXPECT_TRUE(fails_with(model.open(), ErrorCode::kIo, {"generation_config.json"}));
  std::filesystem::remove(model.directory().path() / "generation_config.json");
  std::filesystem::create_symlink("nowhere", model.directory().path() / "generation_config.json");
  EXPECT_TRUE(fails_with(model.open(), ErrorCode::kNotFound, {"generation_config.json"}));
}

TEST(ModelFile, UntiedEmbeddingsNeedTheirHead) {
  EXPECT_TRUE(fails_with(DirectoryWith([](nlohmann::json& c) { c["tie_word_embeddings"] = false; }).open(),
                         ErrorCode::kCorruptFile, {"lm_head"}));
}

TEST(ModelFile, AddedTokensThatOnlyASlowTokenizerKnowsAreRefused) {
  const DirectoryWith model([](nlohmann::json&) {});
  const TemporaryDirectory& folder = model.directory();
  folder.write("tokenizer.model", "x");
  folder.write("added_tokens.json", R"({"<image_soft_token>": 262144})");
  folder.write("tokenizer_config.json",
               R"({"added_tokens_decoder": {"2": {"content": "<bos>"}, "262144": {"content": "<image_soft_token>"}}})");
  EXPECT_TRUE(model.open().ok());
  folder.write("added_tokens.json", R"({"<image_soft_token>": 262144, "<think>": 262145})");
  EXPECT_TRUE(fails_with(model.open(), ErrorCode::kUnsupported, {"added_tokens.json", "<think>", "tokenizer.json"}));
  folder.write("added_tokens.json", "{}");
  folder.write("tokenizer_config.json", R"({"added_tokens_decoder": {"262145": {"content": "<think>"}}})");
  EXPECT_TRUE(fails_with(model.open(), ErrorCode::kUnsupported, {"tokenizer_config.json", "<think>"}));
}

}  // namespace
}  // namespace carat::test
