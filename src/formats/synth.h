// Random-weight Gemma 3 models of the real shapes, for benchmarks and tests: everything of the file is as llama.cpp's
// converter and quantiser write it, but what the weights say.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/dtype.h"
#include "formats/recipe.h"
#include "formats/synth_vocabulary.h"

namespace carat {

struct SynthShape {
  std::string_view name;  // "270m", "1b", "4b", "12b", "27b"; "tiny" is for tests
  int layers, width, ffn_width, heads, kv_heads, head_size, window, context_length;
  int rope_factor;  // of the global layers
  int vocabulary;
};

std::optional<SynthShape> synth_shape(std::string_view name);
std::string synth_shape_names();  // for messages

struct SynthTensor {
  std::string name;
  DType type;
  int64_t rows, columns;
};

// Every tensor in the order of the file.
std::vector<SynthTensor> synth_tensors(const SynthShape& shape, WeightRecipe recipe);

struct SynthOptions {
  uint64_t seed = 1;
  // Called now and then with the bytes written and those of the whole file; false stops (kCancelled).
  std::function<bool(uint64_t done_bytes, uint64_t total_bytes)> progress;
};

// Writes the model; the vocabulary decides the rows of the embedding. Errors: kIo, kCancelled.
Status write_synth(const std::filesystem::path& path, const SynthShape& shape, WeightRecipe recipe,
                   const SynthVocabulary& vocabulary, const SynthOptions& options);

}  // namespace carat
