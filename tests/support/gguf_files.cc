#include "support/gguf_files.h"

#include <gtest/gtest.h>

#include <fstream>

namespace carat::test {
namespace {

constexpr int32_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4;

bool is_user_defined(int32_t id) { return (id >= 107 && id <= 237) || (id >= 255968 && id <= 255998); }

bool is_control(int32_t id, const std::string& piece) {
  return id <= 2 || id == 4 || id == 5 || id == 105 || id == 106 || piece.starts_with("<unused");
}

}  // namespace

SynthVocabulary gemma_vocabulary() {
  auto vocabulary = load_vocabulary(GEMMA_TOKENIZER_JSON, 262144);
  if (!vocabulary.ok()) {
    ADD_FAILURE() << vocabulary.error().message;
    return {};
  }
  for (size_t i = 0; i < vocabulary->pieces.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    int32_t& type = vocabulary->types[i];
    if (id == 3) type = kUnknown;
    if (is_control(id, vocabulary->pieces[i])) type = kControl;
    if (is_user_defined(id) || id == 255999 || id == 256000) type = kUserDefined;
    if (type != kNormal) vocabulary->scores[i] = -1000;
  }
  return std::move(*vocabulary);
}

GgufHeader gemma3_header(const GgufShape& shape) {
  GgufHeader header;
  header.add_string("general.architecture", "gemma3");
  header.add_u32("gemma3.context_length", shape.context);
  header.add_u32("gemma3.embedding_length", shape.width);
  header.add_u32("gemma3.block_count", shape.layers);
  header.add_u32("gemma3.feed_forward_length", shape.ffn_width);
  header.add_u32("gemma3.attention.head_count", shape.heads);
  header.add_u32("gemma3.attention.head_count_kv", shape.kv_heads);
  header.add_u32("gemma3.attention.key_length", shape.head_size);
  header.add_u32("gemma3.attention.value_length", shape.head_size);
  header.add_u32("gemma3.attention.sliding_window", shape.window);
  header.add_f32("gemma3.attention.layer_norm_rms_epsilon", 1e-6f);
  return header;
}

void add_vocabulary(GgufHeader& header, const SynthVocabulary& vocabulary) {
  const std::vector<std::string_view> pieces(vocabulary.pieces.begin(), vocabulary.pieces.end());
  header.add_string("tokenizer.ggml.model", "llama");
  header.add_string("tokenizer.ggml.pre", "default");
  header.add_strings("tokenizer.ggml.tokens", pieces);
  header.add_f32s("tokenizer.ggml.scores", vocabulary.scores);
  header.add_i32s("tokenizer.ggml.token_type", vocabulary.types);
  header.add_u32("tokenizer.ggml.bos_token_id", 2);
  header.add_u32("tokenizer.ggml.padding_token_id", 0);
  header.add_u32("tokenizer.ggml.unknown_token_id", 3);
  header.add_bool("tokenizer.ggml.add_bos_token", true);
  header.add_bool("tokenizer.ggml.add_eos_token", false);
}

void write_gguf_with_holes(const std::filesystem::path& path, GgufHeader header, const GgufShape& shape,
                           uint64_t rows) {
  const auto width = static_cast<int64_t>(shape.width);
  const auto q = static_cast<int64_t>(shape.heads) * shape.head_size,
             kv = static_cast<int64_t>(shape.kv_heads) * shape.head_size;
  const auto ffn = static_cast<int64_t>(shape.ffn_width);
  header.add_tensor("token_embd.weight", DType::kQ8_0, static_cast<int64_t>(rows), width);
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    const std::string blk = "blk." + std::to_string(layer) + ".";
    const auto matrix = [&](const char* name, int64_t out, int64_t in) {
      header.add_tensor(blk + name + ".weight", DType::kQ4_0, out, in);
    };
    const auto norm = [&](const char* name, int64_t size) {
      header.add_tensor(blk + name + ".weight", DType::kF32, 1, size);
    };
    matrix("attn_q", q, width);
    matrix("attn_k", kv, width);
    matrix("attn_v", kv, width);
    matrix("attn_output", width, q);
    matrix("ffn_gate", ffn, width);
    matrix("ffn_up", ffn, width);
    matrix("ffn_down", width, ffn);
    for (const char* name : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}) norm(name, width);
    norm("attn_q_norm", shape.head_size);
    norm("attn_k_norm", shape.head_size);
  }
  header.add_tensor("output_norm.weight", DType::kF32, 1, width);
  const std::string bytes = header.encode();
  uint64_t size = bytes.size();
  for (const auto& tensor : header.tensors()) size += (tensor.bytes + 31) / 32 * 32;
  std::ofstream(path, std::ios::binary) << bytes;
  std::filesystem::resize_file(path, size);
}

void write_ollama_1b(const std::filesystem::path& path) {
  SynthVocabulary vocabulary = gemma_vocabulary();
  for (size_t id = 0; id < vocabulary.pieces.size(); ++id) {
    if (vocabulary.types[id] != kUserDefined) continue;
    vocabulary.types[id] = kNormal;
    vocabulary.scores[id] = 0;
  }
  vocabulary.add("<image_soft_token>", -1000, kUserDefined);
  GgufHeader header = gemma3_header(kGoogle1B);
  header.add_u32("general.file_type", 15);
  header.add_f32("gemma3.final_logit_softcapping", 30);
  header.add_f32("gemma3.rope.local.freq_base", 1e4f);
  header.add_f32("gemma3.rope.global.freq_base", 1e6f);
  add_vocabulary(header, vocabulary);
  header.add_u32("tokenizer.ggml.eos_token_id", 1);
  header.add_i32s("tokenizer.ggml.eos_token_ids", std::vector<int32_t>{1, 106});
  header.add_bool("tokenizer.ggml.add_padding_token", false);
  header.add_bool("tokenizer.ggml.add_unknown_token", false);
  write_gguf_with_holes(path, std::move(header), kGoogle1B, 262144);
}

}  // namespace carat::test
