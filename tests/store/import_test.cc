// Local weights into the store: the fixture as a Hugging Face folder, its refusal when damaged, and cancelling.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "formats/gguf_writer.h"
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
  Reference reference_ = *Reference::parse("my:tag");
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

// A Gemma 3 of one layer, all zeros: as small as a model file can be.
void write_tiny_gguf(const fs::path& path) {
  constexpr int64_t kWidth = 64, kVocabulary = 128;
  GgufHeader header;
  header.add_string("general.architecture", "gemma3");
  for (const auto& [key, value] : std::vector<std::pair<const char*, uint32_t>>{{"context_length", 256},
                                                                                {"embedding_length", kWidth},
                                                                                {"block_count", 1},
                                                                                {"feed_forward_length", kWidth},
                                                                                {"attention.head_count", 2},
                                                                                {"attention.head_count_kv", 2},
                                                                                {"attention.key_length", 32},
                                                                                {"attention.sliding_window", 32}}) {
    header.add_u32(std::string("gemma3.") + key, value);
  }
  header.add_tensor("token_embd.weight", DType::kF32, kVocabulary, kWidth);
  header.add_tensor("output_norm.weight", DType::kF32, 1, kWidth);
  for (const char* matrix : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
    header.add_tensor(fmt::format("blk.0.{}.weight", matrix), DType::kF32, kWidth, kWidth);
  }
  for (const char* norm : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}) {
    header.add_tensor(fmt::format("blk.0.{}.weight", norm), DType::kF32, 1, kWidth);
  }
  for (const char* norm : {"attn_q_norm", "attn_k_norm"}) {
    header.add_tensor(fmt::format("blk.0.{}.weight", norm), DType::kF32, 1, 32);
  }
  const std::vector<std::byte> zeros(kVocabulary * kWidth * sizeof(float));
  const Status written = write_gguf(path, header, [&](size_t index, const GgufSink& sink) {
    return sink(std::span(zeros).first(header.tensors()[index].bytes));
  });
  ASSERT_TRUE(written.ok()) << written.error().message;
}

TEST_F(Import, AGgufIsOneBlob) {
  const fs::path source = folder_.path() / "tiny.gguf";
  write_tiny_gguf(source);
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

}  // namespace
}  // namespace carat
