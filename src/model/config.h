// The hyper-parameters of a Gemma 3 text model, checked for sense, whatever file they came from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace carat {

inline constexpr int32_t kMaxVocabulary = 1 << 20;

// Letters used in every comment of this project (declared here once, used from step.h on):
//   T rows in a step   S sequences   L rows that want logits   V vocabulary   P tokens per KV page
//   D model width   F ffn width   H query heads   K kv heads   E head size   W sliding window
struct ModelConfig {
  std::string name;  // "Gemma 3 270m", for people
  int32_t layers = 0;
  int32_t width = 0;           // D
  int32_t ffn_width = 0;       // F
  int32_t heads = 0;           // H
  int32_t kv_heads = 0;        // K
  int32_t head_size = 0;       // E
  int32_t vocabulary = 0;      // V: rows of the embedding that are computed
  int32_t context_length = 0;  // positions: 32768, or 131072 from 4B
  int32_t window = 0;          // W: keys that a sliding layer sees, the token itself included
  float norm_epsilon = 1e-6f;
  float query_scale = 0;  // E^-0.5, but 168^-0.5 on 27B
  float rope_base_global = 1e6f;
  float rope_base_local = 1e4f;
  float rope_factor_global = 1;  // positions are divided by it on global layers (8 from 4B)
  float embedding_scale = 0;     // sqrt(D) rounded to bf16
  std::vector<bool> is_global;   // [layers]: full attention, or a window of W
  int32_t bos_id = 2;
  bool adds_bos = true;             // a plain text begins with it
  std::vector<int32_t> eos_ids{1};  // generation stops at any of them
  std::vector<int32_t> barred_ids;  // ascending; never sampled: image soft tokens, rows that no token names
};

// Every field against what makes sense; the error names the file, the field, its value and what was expected.
Status validate(const ModelConfig& config, const std::string& file);

// sqrt(D) rounded to bf16, as Google's code has it: 25.25 for D = 640, where llama.cpp multiplies by 25.298.
float embedding_scale(int32_t width);

// Gemma 3's pattern: of every `period` layers the last one is global. With 6: layers 5, 11, 17, ...
std::vector<bool> global_layers(int32_t layers, int32_t period);

// Whether layers, widths and heads are those of a Gemma 3 that Google released: what such a file says wrongly is known.
bool is_google_shape(const ModelConfig& config);

}  // namespace carat
