#include "formats/synth.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "formats/gguf.h"
#include "support/paths.h"

namespace carat {
namespace {

// The choice of types against what llama.cpp really did to the real model.
TEST(Synth, ChoosesTheTypesOfTheRealFile) {
  std::ifstream golden(std::string(kSourceDir) + "/tests/golden/gemma3-270m-q4_k_m.tensors");
  std::string line;
  std::getline(golden, line);
  ASSERT_EQ(line.front(), '#');
  const auto tensors = synth_tensors(*synth_shape("270m"), *weight_recipe("Q4_K_M"));
  size_t index = 0;
  for (; std::getline(golden, line); ++index) {
    ASSERT_LT(index, tensors.size());
    const SynthTensor& t = tensors[index];
    std::ostringstream ours;
    ours << t.name << ' ' << dtype_info(t.type).name << ' ' << t.rows << ' ' << t.columns;
    EXPECT_EQ(ours.str(), line);
  }
  EXPECT_EQ(index, tensors.size());
  EXPECT_EQ(index, 236u);
}

TEST(Synth, FallsBackOnRowsThatAreNoWholeBlocks) {
  const auto type_of = [](const char* shape, const char* recipe, std::string_view name) {
    for (const SynthTensor& tensor : synth_tensors(*synth_shape(shape), *weight_recipe(recipe))) {
      if (tensor.name == name) return tensor.type;
    }
    return DType::kF32;
  };
  EXPECT_EQ(type_of("1b", "q5_K", "blk.3.ffn_up.weight"), DType::kQ5_1);
  EXPECT_EQ(type_of("1b", "q2_K", "blk.3.ffn_up.weight"), DType::kQ4_0);
  EXPECT_EQ(type_of("1b", "iq4_xs", "token_embd.weight"), DType::kIQ4_NL);
  EXPECT_EQ(type_of("1b", "q4_0", "token_embd.weight"), DType::kQ4_0);
  EXPECT_EQ(type_of("1b", "q4_k_m", "token_embd.weight"), DType::kQ8_0);
  EXPECT_EQ(type_of("4b", "q4_k_m", "token_embd.weight"), DType::kQ6_K);
  EXPECT_EQ(type_of("4b", "q4_k_m", "blk.4.attn_v.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("4b", "q4_k_m", "blk.6.attn_v.weight"), DType::kQ6_K);
}

TEST(Synth, ShapesHaveTheirParameters) {
  const auto billions = [](const char* shape) {
    double count = 0;
    for (const SynthTensor& t : synth_tensors(*synth_shape(shape), {}))
      count += static_cast<double>(t.rows) * static_cast<double>(t.columns);
    return count / 1e9;
  };
  EXPECT_NEAR(billions("270m"), 0.268, 0.0005);
  EXPECT_NEAR(billions("1b"), 1.000, 0.0005);
  EXPECT_NEAR(billions("4b"), 3.880, 0.0005);
  EXPECT_NEAR(billions("12b"), 11.766, 0.0005);
  EXPECT_NEAR(billions("27b"), 27.009, 0.0005);
}

TEST(Synth, UnknownNamesAreNothing) {
  EXPECT_EQ(synth_shape("2b"), std::nullopt);
  EXPECT_FALSE(weight_recipe("q4_k_s").has_value());
  EXPECT_TRUE(weight_recipe("BF16").has_value());
}

TEST(Synth, WritesAFileThatReadsBack) {
  const auto path = std::filesystem::path(testing::TempDir()) / "tiny.gguf";
  uint64_t last = 0;
  uint64_t whole = 0;
  SynthOptions options;
  options.progress = [&](uint64_t done_bytes, uint64_t total_bytes) {
    last = done_bytes;
    whole = total_bytes;
    return true;
  };
  const auto written =
      write_synth(path, *synth_shape("tiny"), *weight_recipe("q4_k_m"), invented_vocabulary(1024), options);
  ASSERT_TRUE(written.ok()) << written.error().message;
  EXPECT_EQ(last, whole);
  {
    const auto file = GgufFile::open(path);
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->tensors().size(), 2u + 7 * 13);
    EXPECT_EQ(file->find_tensor("token_embd.weight")->rows, 1024);
    EXPECT_EQ(**file->find_u32("gemma3.attention.sliding_window"), 32u);
    EXPECT_EQ((*file->find_strings("tokenizer.ggml.tokens"))->size(), 1024u);
  }
  options.progress = [](uint64_t, uint64_t) { return false; };
  std::filesystem::remove(path);
  const auto stopped = write_synth(path, *synth_shape("tiny"), {}, invented_vocabulary(1024), options);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(SynthVocabulary, HasTheSpecialIdsOfGemma) {
  const SynthVocabulary v = invented_vocabulary(262144);
  ASSERT_EQ(v.pieces.size(), 262144u);
  EXPECT_EQ(v.pieces[2], "<bos>");
  EXPECT_EQ(v.pieces[104], "<unused98>");
  EXPECT_EQ(v.pieces[105], "<start_of_turn>");
  EXPECT_EQ(v.pieces[107], "\n");
  EXPECT_EQ(v.pieces[137], std::string(31, '\n'));
  EXPECT_EQ(v.pieces[138], "  ");
  EXPECT_EQ(v.pieces[238], "<0x00>");
  EXPECT_EQ(v.pieces[493], "<0xFF>");
  EXPECT_EQ(v.pieces[255968], "\t");
  EXPECT_EQ(v.pieces[255999], "<start_of_image>");
  EXPECT_EQ(v.pieces[256001], "<unused99>");
  EXPECT_EQ(v.pieces[262143], "<unused6241>");
  EXPECT_EQ(v.types[262143], 3);
  EXPECT_EQ(std::set<std::string>(v.pieces.begin(), v.pieces.end()).size(), v.pieces.size());
}

TEST(SynthVocabulary, LoadsATokenizerJson) {
  const auto path = std::filesystem::path(testing::TempDir()) / "tokenizer.json";
  std::ofstream(path)
      << R"({"model":{"vocab":{"<pad>":0,"▁▁":1,"<0x41>":2,"the":3}},)"
         R"("added_tokens":[{"id":0,"special":true},{"id":1,"special":false},{"id":99,"special":true}]})";
  const auto v = load_vocabulary(path, 262144);
  ASSERT_TRUE(v.ok()) << v.error().message;
  EXPECT_EQ(v->pieces, (std::vector<std::string>{"<pad>", "  ", "<0x41>", "the"}));
  EXPECT_EQ(v->types, (std::vector<int32_t>{3, 4, 6, 1}));
  for (const char* bad :
       {"{", "[]", R"({"model":{}})", R"({"model":{"vocab":{"a":7}}})", R"({"model":{"vocab":{"a":"x"}}})"}) {
    std::ofstream(path) << bad;
    EXPECT_FALSE(load_vocabulary(path, 262144).ok()) << bad;
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace carat
