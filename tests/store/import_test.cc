// Local weights into the store: the fixture as a Hugging Face folder, its refusal when damaged, and cancelling.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "formats/gguf_writer.h"
#include "formats/safetensors.h"
#include "model/fixture.h"
#include "store/observer.h"
#include "store/pull/pull.h"
#include "store/store.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

class Import : public testing::Test {
 protected:
  test::TemporaryDirectory folder_;
  Store store_{folder_.path() / "home"};
  ModelName reference_ = *ModelName::parse("my:tag");
  test::RecordingObserver observer_;
};

TEST_F(Import, AFolderIsCopiedAndOpens) {
  const fs::path source = test::golden("gemma3-tiny-text");
  const Status status = import_model(store_, reference_, source, observer_);
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_TRUE(observer_.saw("success"));
  EXPECT_EQ(observer_.done.back(), observer_.total) << "the bar ends full";
  const auto model = store_.resolve("my:tag");
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_FALSE(model->is_local);
  EXPECT_TRUE(model->is_base) << "the fixture has no chat template";
  const auto file = ModelFile::open(model->path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->parameters, ModelFile::open(source)->parameters);
  EXPECT_TRUE(store_.verify(store_.find(reference_)->manifest).ok());
}

constexpr int64_t kWidth = 64;
constexpr int64_t kVocabulary = 128;

struct TinyTensor {
  std::string name;
  int64_t rows, columns;
};

// A Gemma 3 of one layer, all zeros: as small as a model file can be.
std::vector<TinyTensor> tiny_tensors() {
  std::vector<TinyTensor> tensors{{"token_embd.weight", kVocabulary, kWidth}, {"output_norm.weight", 1, kWidth}};
  for (const char* matrix : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
    tensors.push_back({fmt::format("blk.0.{}.weight", matrix), kWidth, kWidth});
  }
  for (const char* norm : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}) {
    tensors.push_back({fmt::format("blk.0.{}.weight", norm), 1, kWidth});
  }
  for (const char* norm : {"attn_q_norm", "attn_k_norm"})
    tensors.push_back({fmt::format("blk.0.{}.weight", norm), 1, 32});
  return tensors;
}

// The file, or part `part` (from 0) of a split one.
void write_tiny_gguf(const fs::path& path, const std::vector<TinyTensor>& tensors, uint32_t part = 0,
                     uint32_t parts = 1) {
  GgufHeader header;
  header.add_string("general.architecture", "gemma3");
  for (const auto& [key, value] : std::vector<std::pair<std::string, uint32_t>>{{"context_length", 256},
                                                                                {"embedding_length", kWidth},
                                                                                {"block_count", 1},
                                                                                {"feed_forward_length", kWidth},
                                                                                {"attention.head_count", 2},
                                                                                {"attention.head_count_kv", 2},
                                                                                {"attention.key_length", 32},
                                                                                {"attention.sliding_window", 32}}) {
    header.add_u32("gemma3." + key, value);
  }
  if (parts > 1) {
    header.add_u32("split.no", part);
    header.add_u32("split.count", parts);
  }
  for (const TinyTensor& tensor : tensors) header.add_tensor(tensor.name, DType::kF32, tensor.rows, tensor.columns);
  const std::vector<std::byte> zeros(kVocabulary * kWidth * sizeof(float));
  const Status written = write_gguf(path, header, [&](size_t index, const GgufSink& sink) {
    return sink(std::span(zeros).first(header.tensors()[index].bytes));
  });
  ASSERT_TRUE(written.ok()) << written.error().message;
}

TEST_F(Import, AGgufIsOneBlob) {
  const fs::path source = folder_.path() / "tiny.gguf";
  write_tiny_gguf(source, tiny_tensors());
  const Status status = import_model(store_, reference_, source, observer_);
  ASSERT_TRUE(status.ok()) << status.error().message;
  fs::remove(source);
  const auto model = store_.resolve("my:tag");
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->path.parent_path(), store_.blobs().folder());
  const auto file = ModelFile::open(model->path);
  ASSERT_TRUE(file.ok()) << "a blob's name has no .gguf, and needs none: " << file.error().message;
  EXPECT_EQ(file->config.layers, 1);
}

TEST_F(Import, ASplitGgufKeepsItsParts) {
  const std::vector<TinyTensor> tensors = tiny_tensors();
  const auto middle = tensors.begin() + 5;
  const fs::path first = folder_.path() / "tiny-00001-of-00002.gguf";
  const fs::path second = folder_.path() / "tiny-00002-of-00002.gguf";
  write_tiny_gguf(first, {tensors.begin(), middle}, 0, 2);
  write_tiny_gguf(second, {middle, tensors.end()}, 1, 2);
  const Status status = import_model(store_, reference_, first, observer_);
  ASSERT_TRUE(status.ok()) << status.error().message;
  fs::remove(first);
  fs::remove(second);
  const auto model = store_.resolve("my:tag");
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto file = ModelFile::open(model->path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(model->holds.size(), 3u) << "both parts and the config";
}

TEST_F(Import, WhatIsNoModelLeavesNothing) {
  const fs::path bad = folder_.path() / "bad.gguf";
  std::ofstream(bad) << "GGUF but not really";
  EXPECT_FALSE(import_model(store_, reference_, bad, observer_).ok());
  EXPECT_FALSE(import_model(store_, reference_, folder_.path() / "none.gguf", observer_).ok());
  EXPECT_FALSE(fs::exists(store_.home()));
}

TEST_F(Import, CancelledLeavesNoBlob) {
  observer_.cancel = true;
  EXPECT_TRUE(test::fails_with(import_model(store_, reference_, test::golden("gemma3-tiny-text"), observer_),
                               ErrorCode::kCancelled, {}));
  EXPECT_TRUE(fs::is_empty(store_.blobs().folder()));
}

// The fixture's weights under another name, with an index that says so.
fs::path renamed_shards(const test::TemporaryDirectory& folder, const std::string& shard) {
  const fs::path source = folder.path() / "renamed";
  fs::create_directories(source);
  fs::copy(test::golden("gemma3-tiny-text") / "config.json", source / "config.json");
  fs::copy(test::golden("gemma3-tiny-text") / "model.safetensors", source / shard);
  const auto file = SafetensorsFile::open(source / shard);
  EXPECT_TRUE(file.ok());
  std::string map;
  for (const SafetensorsEntry& entry : file->entries()) {
    map += fmt::format("{}\"{}\": \"{}\"", map.empty() ? "" : ", ", entry.name, shard);
  }
  std::ofstream(source / "model.safetensors.index.json") << "{\"weight_map\": {" << map << "}}";
  return source;
}

TEST_F(Import, ShardsHaveAnyNameThatTheIndexGivesThem) {
  const fs::path source = renamed_shards(folder_, "gemma_part-1.safetensors");
  std::ofstream(source / "notes.json") << "{}";  // nobody's
  std::ofstream(source / "model-old.safetensors") << "left over";
  const Status status = import_model(store_, reference_, source, observer_);
  ASSERT_TRUE(status.ok()) << status.error().message;
  const auto model = store_.resolve("my:tag");
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_TRUE(ModelFile::open(model->path).ok());
  EXPECT_EQ(store_.find(reference_)->manifest.files.size(), 3u);
}

TEST_F(Import, ANameThatAManifestCannotHoldIsNoSuccess) {
  const fs::path source = renamed_shards(folder_, "a shard.safetensors");
  EXPECT_TRUE(test::fails_with(import_model(store_, reference_, source, observer_), ErrorCode::kCorruptFile,
                               {"no plain file name"}));
  EXPECT_FALSE(observer_.saw("success"));
  EXPECT_TRUE(store_.list()->models.empty());
}

TEST_F(Import, AViewShowsWhatTheManifestNamesAndNothingElse) {
  ASSERT_TRUE(import_model(store_, reference_, test::golden("gemma3-tiny-text"), observer_).ok());
  const fs::path view = store_.resolve("my:tag")->path;
  // A link to another file is set right.
  const fs::path other = folder_.path() / "other.json";
  std::ofstream(other) << R"({"model_type": "llama"})";
  fs::remove(view / "config.json");
  fs::create_symlink(other, view / "config.json");
  ASSERT_TRUE(store_.resolve("my:tag").ok());
  EXPECT_TRUE(fs::equivalent(view / "config.json",
                             store_.blobs().path_of(store_.find(reference_)->manifest.files[0].blob.digest)));
  EXPECT_TRUE(ModelFile::open(view).ok());
  // A file that the manifest does not name, and one in a link's place, are refused by name.
  std::ofstream(view / "chat_template.jinja") << "evil";
  EXPECT_TRUE(test::fails_with(store_.resolve("my:tag"), ErrorCode::kCorruptFile, {"chat_template.jinja"}));
  fs::remove(view / "chat_template.jinja");
  fs::remove(view / "config.json");
  std::ofstream(view / "config.json") << "{}";
  EXPECT_TRUE(test::fails_with(store_.resolve("my:tag"), ErrorCode::kCorruptFile, {"config.json", "move it away"}));
  fs::remove(view / "config.json");
  // The whole folder as a link to one that somebody prepared.
  fs::rename(view, folder_.path() / "prepared");
  fs::create_directory_symlink(folder_.path() / "prepared", view);
  const auto elsewhere = store_.resolve("my:tag");
  ASSERT_TRUE(elsewhere.ok()) << elsewhere.error().message;
  EXPECT_TRUE(ModelFile::open(view).ok());
}

}  // namespace
}  // namespace carat
