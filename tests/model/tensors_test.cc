#include "model/tensors.h"

#include <algorithm>
#include <set>

#include "model/fixture.h"

namespace carat::test {
namespace {

std::vector<TensorView> views_of(const std::vector<TensorSpec>& specs) {
  std::vector<TensorView> views;
  for (const TensorSpec& spec : specs) views.push_back({spec.name, DType::kF32, spec.rows, spec.columns, {}});
  return views;
}

std::vector<TensorView> whole_model() { return views_of(gguf_tensors(small_config())); }

TensorView& named(std::vector<TensorView>& views, const std::string& name) {
  return *std::find_if(views.begin(), views.end(), [&](const TensorView& view) { return view.name == name; });
}

Result<Weights> bound(const std::vector<TensorView>& views, TensorNaming naming = TensorNaming::kGguf) {
  return bind_tensors(small_config(), views, naming, "m.gguf");
}

TEST(Tensors, BindsAWholeModel) {
  const Result<Weights> weights = bound(whole_model());
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  EXPECT_FALSE(weights->norm_plus_one);
  EXPECT_EQ(weights->head.rows, 0);
  EXPECT_EQ(&weights->head_or_embedding(), &weights->embedding);
  ASSERT_EQ(weights->layers.size(), 3u);
  EXPECT_EQ(weights->layers[2].q.name, "blk.2.attn_q.weight");
  EXPECT_EQ(weights->layers[2].q.rows, 128);
  EXPECT_EQ(weights->layers[1].k.rows, 64);
  EXPECT_EQ(weights->layers[1].attn_out.columns, 128);
  EXPECT_EQ(weights->layers[0].down.columns, 96);
  EXPECT_EQ(weights->layers[0].q_norm.columns, 32);
}

TEST(Tensors, EveryMissingTensorIsNamed) {
  for (const TensorSpec& spec : gguf_tensors(small_config())) {
    std::vector<TensorView> views = whole_model();
    views.erase(std::find_if(views.begin(), views.end(), [&](const TensorView& v) { return v.name == spec.name; }));
    EXPECT_TRUE(fails_with(bound(views), ErrorCode::kCorruptFile, {"m.gguf: tensor " + spec.name + " is missing"}));
  }
}

TEST(Tensors, EveryWrongShapeIsNamedWithWhatWasExpected) {
  for (const TensorSpec& spec : gguf_tensors(small_config())) {
    std::vector<TensorView> narrow = whole_model(), few = whole_model();
    named(narrow, spec.name).columns -= 1;
    named(few, spec.name).rows -= 1;
    EXPECT_TRUE(fails_with(bound(narrow), ErrorCode::kCorruptFile, {spec.name + " is [", "expected ["}));
    EXPECT_TRUE(fails_with(bound(few), ErrorCode::kCorruptFile, {spec.name + " is [", "expected ["}));
  }
}

TEST(Tensors, OnlyTheEmbeddingAndTheHeadMayHaveMoreRows) {
  for (const TensorSpec& spec : gguf_tensors(small_config())) {
    std::vector<TensorView> views = whole_model();
    named(views, spec.name).rows += 64;
    EXPECT_EQ(bound(views).ok(), spec.name == "token_embd.weight") << spec.name;
  }
}

TEST(Tensors, UnknownAndRepeatedTensorsAreErrors) {
  std::vector<TensorView> views = whole_model();
  views.push_back({"blk.3.attn_q.weight", DType::kF32, 128, 64, {}});
  EXPECT_TRUE(fails_with(bound(views), ErrorCode::kCorruptFile, {"blk.3.attn_q.weight is not a tensor of Gemma 3"}));
  views.back().name = "evil\nname\x1b[31m";
  EXPECT_TRUE(fails_with(bound(views), ErrorCode::kCorruptFile, {"evil\\nname\\x1b[31m is not"}));
  views.back() = views.front();
  EXPECT_TRUE(fails_with(bound(views), ErrorCode::kCorruptFile, {"token_embd.weight appears twice"}));
}

TEST(Tensors, NormsAreNotQuantised) {
  std::vector<TensorView> views = whole_model();
  named(views, "blk.0.ffn_norm.weight").type = DType::kQ8_0;
  EXPECT_TRUE(fails_with(bound(views), ErrorCode::kCorruptFile, {"blk.0.ffn_norm.weight is q8_0", "expected f32"}));
}

TEST(Tensors, AnUntiedHeadIsTaken) {
  std::vector<TensorView> views = whole_model();
  views.push_back({"output.weight", DType::kQ8_0, 128, 64, {}});
  const Result<Weights> weights = bound(views);
  ASSERT_TRUE(weights.ok());
  EXPECT_EQ(weights->head_or_embedding().name, "output.weight");
  views.back().columns = 65;
  EXPECT_TRUE(fails_with(bound(views), ErrorCode::kCorruptFile, {"output.weight is [128, 65]"}));
}

TEST(Tensors, VisionTensorsAreLeftAside) {
  std::vector<TensorView> views = whole_model();
  for (const char* name : {"v.blk.0.attn_q.weight", "v.patch_embedding.weight", "mm.mm_soft_emb_norm.weight"}) {
    views.push_back({name, DType::kF16, 3, 3, {}});
  }
  EXPECT_TRUE(bound(views).ok());
}

// The names of gemma3.md section 8, each spelled out once: GGUF name to Hugging Face name inside the text model.
std::string hugging_face_name(std::string name, const std::string& prefix) {
  if (name == "token_embd.weight") return prefix + "embed_tokens.weight";
  if (name == "output_norm.weight") return prefix + "norm.weight";
  const std::vector<std::pair<std::string, std::string>> inner{{"attn_norm", "input_layernorm"},
                                                               {"attn_q", "self_attn.q_proj"},
                                                               {"attn_k", "self_attn.k_proj"},
                                                               {"attn_v", "self_attn.v_proj"},
                                                               {"attn_q_norm", "self_attn.q_norm"},
                                                               {"attn_k_norm", "self_attn.k_norm"},
                                                               {"attn_output", "self_attn.o_proj"},
                                                               {"post_attention_norm", "post_attention_layernorm"},
                                                               {"ffn_norm", "pre_feedforward_layernorm"},
                                                               {"ffn_gate", "mlp.gate_proj"},
                                                               {"ffn_up", "mlp.up_proj"},
                                                               {"ffn_down", "mlp.down_proj"},
                                                               {"post_ffw_norm", "post_feedforward_layernorm"}};
  const std::string layer = name.substr(4, 1), rest = name.substr(6, name.size() - 6 - 7);
  for (const auto& [gguf, hugging_face] : inner) {
    if (rest == gguf) return prefix + "layers." + layer + "." + hugging_face + ".weight";
  }
  return "?";
}

TEST(Tensors, HuggingFaceNamesOfEveryAge) {
  const std::vector<std::pair<std::string, std::string>> prefixes{
      {"model.", "vision_tower.vision_model.post_layernorm.bias"},
      {"language_model.model.", "multi_modal_projector.mm_input_projection_weight"},
      {"model.language_model.", "model.vision_tower.vision_model.post_layernorm.bias"}};
  for (const auto& [prefix, vision] : prefixes) {
    std::vector<TensorView> views = whole_model();
    for (TensorView& view : views) view.name = hugging_face_name(view.name, prefix);
    views.push_back({vision, DType::kBF16, 1, 5, {}});
    const Result<Weights> weights = bound(views, TensorNaming::kHuggingFace);
    ASSERT_TRUE(weights.ok()) << weights.error().message;
    EXPECT_TRUE(weights->norm_plus_one);
    EXPECT_EQ(weights->layers[2].post_ffn_norm.name, prefix + "layers.2.post_feedforward_layernorm.weight");
  }
}

TEST(Tensors, NormMultipliersAddTheOneWhereTheFileHoldsW) {
  const std::vector<float> w{0, 0.5f, -1, 2};
  const TensorView norm{"n", DType::kF32, 1, 4, std::as_bytes(std::span(w))};
  Weights weights;
  EXPECT_EQ(norm_multipliers(weights, norm), w);
  weights.norm_plus_one = true;
  EXPECT_EQ(norm_multipliers(weights, norm), (std::vector<float>{1, 1.5f, 0, 3}));
}

TEST(Tensors, BuffersOfRotaryEmbeddingsAreSkippedAndNothingElse) {
  std::vector<TensorView> views = whole_model();
  for (const char* name : {"model.rotary_emb.inv_freq", "model.layers.0.self_attn.rotary_emb.inv_freq",
                           "language_model.model.rotary_emb_local.inv_freq", "model.rotary_emb.original_inv_freq"}) {
    views.push_back({name, DType::kF32, 1, 16, {}});
  }
  EXPECT_TRUE(bound(views).ok());
  for (const char* name : {"rope_freqs.weight", "model.layers.0.inv_freq", "model.rotary_emb.inv_freq.weight",
                           "model.layers.0.self_attn.q_proj.bias"}) {
    std::vector<TensorView> more = whole_model();
    more.push_back({name, DType::kF32, 1, 16, {}});
    EXPECT_TRUE(fails_with(bound(more), ErrorCode::kCorruptFile, {name, "is not a tensor of Gemma 3"}));
  }
}

}  // namespace
}  // namespace carat::test
