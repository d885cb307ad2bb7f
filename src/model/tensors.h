// The one table of Gemma 3's text tensors: what each is called in GGUF and in Hugging Face files, where it belongs and
// which shape it must have. Loading, writing (carat synth) and the documentation of shapes all go through it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/dtype.h"
#include "model/config.h"
#include "model/weights.h"

namespace carat {

enum class TensorNaming : uint8_t { kGguf, kHuggingFace };

// A tensor as some file must hold it.
struct TensorSpec {
  std::string name;  // "blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight"
  int64_t rows = 0;  // 1 for a vector
  int64_t columns = 0;
  int32_t layer = -1;    // -1 outside the layers
  bool is_norm = false;  // a vector in 16 or 32 bits; everything else is a matrix of any type
};

// All tensors of a model with a tied head, in file order, under GGUF names.
std::vector<TensorSpec> gguf_tensors(const ModelConfig& config);

// Finds every tensor of the table among `tensors` and checks its shape and type. Vision towers and projectors are left
// aside. The embedding may have more rows than V (Hugging Face pads to 262208).
// Errors: kCorruptFile, naming `file`, the tensor and what was expected: missing, unknown, repeated, of a wrong shape,
// or a norm in a quantised type.
Result<Weights> bind_tensors(const ModelConfig& config, std::span<const TensorView> tensors, TensorNaming naming,
                             const std::string& file);

// Whether a name belongs to a vision tower or projector, in any spelling.
bool is_vision_tensor(std::string_view name);

// What a text model does without: vision tensors, and the buffers of rotary embeddings that old exporters wrote.
bool is_skipped_tensor(std::string_view name);

// The tensor that holds the token embedding, or nullptr: its rows give V before the table can be checked.
const TensorView* find_embedding(std::span<const TensorView> tensors, TensorNaming naming);

}  // namespace carat
