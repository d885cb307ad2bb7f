// Where towers come from: every file that holds one gives the same weights, so the same numbers.
#include <functional>
#include <utility>

#include "formats/gguf_writer.h"
#include "model/fixture.h"
#include "model/vision.h"
#include "model/vision_reference.h"
#include "model/vision_synth.h"

namespace carat::test {
namespace {

using TowerPtr = std::shared_ptr<const VisionTower>;
using Rename = std::function<std::string(std::string)>;

std::vector<float> pixels_of(const VisionConfig& config) {
  std::vector<float> pixels(config.pixels());
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>(i * 7919 % 1000) / 500 - 1;
  return pixels;
}

std::vector<float> features(const VisionTower& tower) { return vision_ref(tower, pixels_of(tower.config)).features; }

TowerPtr open(const std::filesystem::path& path, int32_t text_width) {
  auto tower = open_vision(path, text_width);
  EXPECT_TRUE(tower.ok()) << tower.error().message;
  return tower.ok() ? *tower : nullptr;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// The same tensors under other names, with another description.
void rewrite(const std::filesystem::path& from, const std::filesystem::path& to, const Rename& rename,
             const std::function<void(GgufHeader&)>& describe) {
  const auto file = GgufFile::open(from);
  ASSERT_TRUE(file.ok()) << file.error().message;
  GgufHeader header;
  describe(header);
  for (const TensorView& tensor : file->tensors()) {
    header.add_tensor(rename(tensor.name), tensor.type, tensor.rows, tensor.columns);
  }
  const Status written =
      write_gguf(to, header, [&](size_t index, const GgufSink& sink) { return sink(file->tensors()[index].data); });
  ASSERT_TRUE(written.ok()) << written.error().message;
}

void describe_mmproj(GgufHeader& header, const VisionConfig& c) {
  header.add_string("general.architecture", "clip");
  for (const auto& [key, value] : {std::pair{"image_size", c.image_size},
                                   {"patch_size", c.patch_size},
                                   {"embedding_length", c.width},
                                   {"feed_forward_length", c.ffn_width},
                                   {"block_count", c.layers},
                                   {"attention.head_count", c.heads},
                                   {"projector.scale_factor", 2}}) {
    header.add_u32(std::string("clip.vision.") + key, static_cast<uint32_t>(value));
  }
}

class VisionFiles : public testing::Test {
 protected:
  const TowerPtr fixture_ = open(golden("gemma3-tiny-vision"), 256);
  const TemporaryDirectory folder_;
};

TEST_F(VisionFiles, NamesOfOldAndNewHuggingFace) {
  const std::vector<float> expected = features(*fixture_);
  const auto at = [](const std::string& bytes) {
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    return length;
  };
  std::ifstream file(golden("gemma3-tiny-vision") / "model.safetensors", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const std::string header = bytes.substr(8, at(bytes)), data = bytes.substr(8 + at(bytes));
  const std::string saved = "\"vision_tower.";
  ASSERT_NE(header.find(saved), std::string::npos);
  for (const std::string prefix :
       {"\"vision_tower.vision_model.", "\"model.vision_tower.vision_model.", "\"model.vision_tower."}) {
    const bool is_new = prefix.starts_with("\"model.");
    std::string renamed = replaced(header, saved, prefix);
    if (is_new) {
      renamed = replaced(renamed, "\"multi_modal_projector.", "\"model.multi_modal_projector.");
      renamed = replaced(renamed, "\"language_model.model.", "\"model.language_model.");
    }
    const uint64_t length = renamed.size();
    std::string whole(reinterpret_cast<const char*>(&length), 8);
    folder_.write("model.safetensors", whole + renamed + data);
    std::filesystem::copy_file(golden("gemma3-tiny-vision") / "config.json", folder_.path() / "config.json",
                               std::filesystem::copy_options::overwrite_existing);
    EXPECT_EQ(features(*open(folder_.path(), 256)), expected) << prefix;
    const auto model = ModelFile::open(folder_.path());
    ASSERT_TRUE(model.ok()) << model.error().message;
    EXPECT_TRUE(model->has_tower);
  }
}

TEST_F(VisionFiles, MmprojAlsoWithTheNamesOfItsFfnTheOtherWayRound) {
  const std::vector<float> expected = features(*fixture_);
  const auto path = folder_.path() / "mmproj.gguf", old = folder_.path() / "old.gguf";
  ASSERT_TRUE(write_mmproj(path, *fixture_).ok());
  EXPECT_EQ(features(*open(path, 256)), expected);
  rewrite(
      path, old,
      [](std::string name) {
        if (name.find("ffn_up") != std::string::npos) return replaced(std::move(name), "ffn_up", "ffn_down");
        return replaced(std::move(name), "ffn_down", "ffn_up");
      },
      [&](GgufHeader& header) { describe_mmproj(header, fixture_->config); });
  EXPECT_EQ(features(*open(old, 256)), expected);
}

// Ollama's single file: other names, and the projection the other way round.
TEST_F(VisionFiles, OllamasNames) {
  VisionTower straight = *fixture_;
  const std::vector<float> projection = projection_values(*fixture_), norm = soft_norm_values(*fixture_);
  const auto mmproj = folder_.path() / "mmproj.gguf", path = folder_.path() / "ollama.gguf";
  ASSERT_TRUE(write_mmproj(mmproj, straight).ok());
  const auto file = GgufFile::open(mmproj);
  ASSERT_TRUE(file.ok());
  GgufHeader header;
  header.add_string("general.architecture", "gemma3");
  const VisionConfig& c = fixture_->config;
  for (const auto& [key, value] : {std::pair{"image_size", c.image_size},
                                   {"patch_size", c.patch_size},
                                   {"embedding_length", c.width},
                                   {"feed_forward_length", c.ffn_width},
                                   {"block_count", c.layers},
                                   {"attention.head_count", c.heads}}) {
    header.add_u32(std::string("gemma3.vision.") + key, static_cast<uint32_t>(value));
  }
  header.add_u32("gemma3.mm.tokens_per_image", static_cast<uint32_t>(c.tokens));
  std::vector<std::span<const std::byte>> data;
  for (const TensorView& tensor : file->tensors()) {
    std::string name = tensor.name;
    for (const auto& [from, to] : {std::pair{"patch_embd", "patch_embedding"},
                                   {"position_embd", "position_embedding"},
                                   {"post_ln", "post_layernorm"},
                                   {"ln1", "layer_norm1"},
                                   {"ln2", "layer_norm2"},
                                   {"attn_out", "attn_output"},
                                   {"ffn_up", "mlp.fc1"},
                                   {"ffn_down", "mlp.fc2"},
                                   {"mm.soft_emb_norm", "mm.mm_soft_emb_norm"},
                                   {"mm.input_projection", "mm.mm_input_projection"}}) {
      name = replaced(name, from, to);
    }
    const bool is_projection = name.starts_with("mm.mm_input");
    header.add_tensor(name, tensor.type, is_projection ? tensor.columns : tensor.rows,
                      is_projection ? tensor.rows : tensor.columns);
    data.push_back(is_projection ? std::as_bytes(std::span(projection)) : tensor.data);
  }
  ASSERT_TRUE(write_gguf(path, header, [&](size_t index, const GgufSink& sink) { return sink(data[index]); }).ok());
  EXPECT_EQ(features(*open(path, 256)), features(*fixture_));
}

TEST_F(VisionFiles, EveryTypeOfWeights) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    const TowerPtr tower = random_tower(tiny_vision_config(96), type, 3);
    const auto path = folder_.path() / "tower.gguf";
    ASSERT_TRUE(write_mmproj(path, *tower).ok());
    const TowerPtr again = open(path, 96);
    ASSERT_NE(again, nullptr);
    EXPECT_EQ(again->weights.layers[0].q.weight.type, type);
    EXPECT_EQ(features(*again), features(*tower)) << dtype_info(type).name;
  }
}

TEST_F(VisionFiles, AnotherProjectorAndAMissingTensorAreErrors) {
  const auto path = folder_.path() / "mmproj.gguf", changed = folder_.path() / "changed.gguf";
  ASSERT_TRUE(write_mmproj(path, *fixture_).ok());
  rewrite(
      path, changed, [](std::string name) { return name; },
      [&](GgufHeader& header) {
        describe_mmproj(header, fixture_->config);
        header.add_string("clip.projector_type", "qwen2vl");
      });
  EXPECT_TRUE(fails_with(open_vision(changed, 256), ErrorCode::kUnsupported, {"qwen2vl", "gemma3"}));
  rewrite(
      path, changed, [](std::string name) { return replaced(std::move(name), "blk.1.attn_q", "blk.1.attn_p"); },
      [&](GgufHeader& header) { describe_mmproj(header, fixture_->config); });
  EXPECT_TRUE(fails_with(open_vision(changed, 256), ErrorCode::kCorruptFile, {"v.blk.1.attn_q.weight", "missing"}));
}

}  // namespace
}  // namespace carat::test
