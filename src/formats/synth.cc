#include "formats/synth.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "formats/gguf_writer.h"
#include "formats/random_blocks.h"

namespace carat {
namespace {

constexpr std::array<SynthShape, 6> kShapes{{
    // name, layers, width, ffn, heads, kv heads, head size, window, context, rope factor, vocabulary
    {"270m", 18, 640, 2048, 4, 1, 256, 512, 32768, 1, 262144},
    {"1b", 26, 1152, 6912, 4, 1, 256, 512, 32768, 1, 262144},
    {"4b", 34, 2560, 10240, 8, 4, 256, 1024, 131072, 8, 262144},
    {"12b", 48, 3840, 15360, 16, 8, 256, 1024, 131072, 8, 262144},
    {"27b", 62, 5376, 21504, 32, 16, 128, 1024, 131072, 8, 262144},
    {"tiny", 7, 256, 512, 4, 2, 64, 32, 1024, 1, 1024},
}};

class TensorList {
 public:
  TensorList(const SynthShape& shape, WeightRecipe recipe) : shape_(shape), recipe_(recipe) {}

  void matrix(std::string name, int64_t rows, int64_t columns, bool more_bits = false) {
    tensors_.push_back({std::move(name), recipe_.type_of(more_bits, columns), rows, columns});
  }
  void norm(std::string name, int64_t size) { tensors_.push_back({std::move(name), DType::kF32, 1, size}); }

  void layer(int index) {
    const auto name = [index](std::string_view part) { return fmt::format("blk.{}.{}.weight", index, part); };
    const bool more_bits = uses_more_bits(index, shape_.layers);
    const int64_t width = shape_.width;
    const int64_t query = int64_t{shape_.heads} * shape_.head_size;
    const int64_t key = int64_t{shape_.kv_heads} * shape_.head_size;
    matrix(name("attn_k"), key, width);
    norm(name("attn_k_norm"), shape_.head_size);
    norm(name("attn_norm"), width);
    matrix(name("attn_output"), width, query);
    matrix(name("attn_q"), query, width);
    norm(name("attn_q_norm"), shape_.head_size);
    matrix(name("attn_v"), key, width, more_bits);
    matrix(name("ffn_down"), width, shape_.ffn_width, more_bits);
    matrix(name("ffn_gate"), shape_.ffn_width, width);
    norm(name("ffn_norm"), width);
    matrix(name("ffn_up"), shape_.ffn_width, width);
    norm(name("post_attention_norm"), width);
    norm(name("post_ffw_norm"), width);
  }

  std::vector<SynthTensor> take() { return std::move(tensors_); }

 private:
  const SynthShape& shape_;
  WeightRecipe recipe_;
  std::vector<SynthTensor> tensors_;
};

void add_metadata(GgufHeader& header, const SynthShape& shape, WeightRecipe recipe, const SynthVocabulary& vocabulary,
                  uint64_t seed) {
  header.add_string("general.architecture", "gemma3");
  header.add_string("general.type", "model");
  header.add_string("general.name", fmt::format("Gemma 3 {} random", shape.name));
  header.add_string("general.description", fmt::format("random weights by carat synth, seed {}", seed));
  header.add_string("general.size_label", shape.name);
  const auto add = [&header](std::string_view key, int value) {
    header.add_u32(fmt::format("gemma3.{}", key), static_cast<uint32_t>(value));
  };
  add("context_length", shape.context_length);
  add("embedding_length", shape.width);
  add("block_count", shape.layers);
  add("feed_forward_length", shape.ffn_width);
  add("attention.head_count", shape.heads);
  add("attention.head_count_kv", shape.kv_heads);
  add("attention.key_length", shape.head_size);
  add("attention.value_length", shape.head_size);
  add("attention.sliding_window", shape.window);
  header.add_f32("gemma3.attention.layer_norm_rms_epsilon", 1e-6f);
  header.add_f32("gemma3.rope.freq_base", 1e6f);
  if (shape.rope_factor != 1) {
    header.add_string("gemma3.rope.scaling.type", "linear");
    header.add_f32("gemma3.rope.scaling.factor", static_cast<float>(shape.rope_factor));
  }
  header.add_u32("general.file_type", recipe.file_type());
  header.add_u32("general.quantization_version", 2);

  header.add_string("tokenizer.ggml.model", "llama");
  header.add_string("tokenizer.ggml.pre", "default");
  header.add_strings("tokenizer.ggml.tokens",
                     std::vector<std::string_view>(vocabulary.pieces.begin(), vocabulary.pieces.end()));
  header.add_f32s("tokenizer.ggml.scores", vocabulary.scores);
  header.add_i32s("tokenizer.ggml.token_type", vocabulary.types);
  header.add_u32("tokenizer.ggml.bos_token_id", 2);
  header.add_u32("tokenizer.ggml.eos_token_id", 1);
  header.add_u32("tokenizer.ggml.unknown_token_id", 3);
  header.add_u32("tokenizer.ggml.padding_token_id", 0);
  header.add_bool("tokenizer.ggml.add_bos_token", true);
  header.add_bool("tokenizer.ggml.add_eos_token", false);
  header.add_bool("tokenizer.ggml.add_space_prefix", false);
}

bool is_norm(const SynthTensor& tensor) { return tensor.rows == 1; }

// Norm multipliers scatter around 1. Matrices have the deviation columns^-1/2, so that what enters with size 1 leaves
// with size 1: nothing overflows, and logits are of order one.
void fill(const SynthTensor& tensor, uint64_t seed, std::span<std::byte> out) {
  if (!is_norm(tensor)) {
    random_blocks(tensor.type, 1 / std::sqrt(static_cast<float>(tensor.columns)), seed, out);
    return;
  }
  std::vector<float> multipliers(static_cast<size_t>(tensor.columns));
  random_blocks(DType::kF32, 0.1f, seed, std::as_writable_bytes(std::span(multipliers)));
  for (float& value : multipliers) value += 1;
  std::copy_n(std::as_bytes(std::span(multipliers)).begin(), out.size(), out.begin());
}

}  // namespace

std::optional<SynthShape> synth_shape(std::string_view name) {
  const auto found = std::find_if(kShapes.begin(), kShapes.end(), [name](const auto& s) { return s.name == name; });
  return found == kShapes.end() ? std::nullopt : std::optional(*found);
}

std::string synth_shape_names() {
  std::string names;
  for (const SynthShape& shape : kShapes) names += (names.empty() ? "" : ", ") + std::string(shape.name);
  return names;
}

std::vector<SynthTensor> synth_tensors(const SynthShape& shape, WeightRecipe recipe) {
  TensorList list(shape, recipe);
  list.norm("output_norm.weight", shape.width);
  list.matrix("token_embd.weight", shape.vocabulary, shape.width, true);
  for (int layer = 0; layer < shape.layers; ++layer) list.layer(layer);
  return list.take();
}

Status write_synth(const std::filesystem::path& path, const SynthShape& shape, WeightRecipe recipe,
                   const SynthVocabulary& vocabulary, const SynthOptions& options) {
  SynthShape sized = shape;
  sized.vocabulary = static_cast<int>(vocabulary.pieces.size());
  const std::vector<SynthTensor> tensors = synth_tensors(sized, recipe);
  GgufHeader header;
  add_metadata(header, sized, recipe, vocabulary, options.seed);
  uint64_t total_bytes = 0;
  for (const SynthTensor& tensor : tensors) {
    header.add_tensor(tensor.name, tensor.type, tensor.rows, tensor.columns);
    total_bytes += header.tensors().back().bytes;
  }

  // Some rows at a time, each with a seed of its own, so that the bytes do not depend on the size of the portion.
  constexpr uint64_t kPortionBytes = 1 << 22;
  std::vector<std::byte> portion;
  uint64_t done_bytes = 0;
  return write_gguf(path, header, [&](size_t index, const GgufSink& sink) -> Status {
    const SynthTensor& tensor = tensors[index];
    const uint64_t row_bytes = header.tensors()[index].bytes / static_cast<uint64_t>(tensor.rows);
    const auto rows_at_once = static_cast<int64_t>(std::max<uint64_t>(1, kPortionBytes / row_bytes));
    for (int64_t row = 0; row < tensor.rows; row += rows_at_once) {
      const int64_t rows = std::min(rows_at_once, tensor.rows - row);
      portion.resize(static_cast<size_t>(rows) * row_bytes);
      for (int64_t r = 0; r < rows; ++r) {
        const uint64_t seed =
            (options.seed << 48) + (static_cast<uint64_t>(index) << 24) + static_cast<uint64_t>(row + r);
        fill(tensor, seed * 0x9e3779b97f4a7c15u,
             std::span(portion).subspan(static_cast<size_t>(r) * row_bytes, row_bytes));
      }
      CARAT_CHECK(sink(portion));
      done_bytes += portion.size();
      if (options.progress && !options.progress(done_bytes, total_bytes)) {
        return Error{ErrorCode::kCancelled, fmt::format("{}: stopped", path.string())};
      }
    }
    return {};
  });
}

}  // namespace carat
