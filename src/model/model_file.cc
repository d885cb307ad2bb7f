// Opening is always the same four steps: read the configuration, check it for sense, match every tensor against the
// table, collect what the tokenizer and the sampler need.
#include "model/model_file.h"

#include <fmt/format.h>

#include "formats/gguf.h"
#include "model/gguf_config.h"
#include "model/model_parts.h"
#include "model/tensors.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

Result<ModelFile> open_gguf(const fs::path& path) {
  CARAT_TRY(const GgufFile gguf, GgufFile::open(path));
  const TensorView* embedding = find_embedding(gguf.tensors(), TensorNaming::kGguf);
  ModelFile model;
  CARAT_TRY(model.config, parse_gguf_config(gguf, embedding != nullptr ? embedding->rows : 0, model.notes));
  if (embedding == nullptr) return no_embedding(gguf.name());
  CARAT_CHECK(validate(model.config, gguf.name()));
  CARAT_TRY(model.weights, bind_tensors(model.config, gguf.tensors(), TensorNaming::kGguf, gguf.name()));
  CARAT_TRY(model.vocabulary, read_gguf_vocabulary(gguf, model.config.vocabulary));
  CARAT_TRY(model.sampling, read_gguf_sampling(gguf));
  CARAT_TRY(model.quantisation, gguf_quantisation(gguf));
  CARAT_TRY(const auto chat_template, gguf.find_string("tokenizer.chat_template"));
  model.chat_template = chat_template.value_or("");
  CARAT_TRY(const bool tuned, is_instruction_tuned(gguf));
  settle_turns(model, tuned);
  model.parameters = count_parameters(model.weights);
  model.has_tower = gguf.find("gemma3.vision.block_count") != nullptr;
  model.file_bytes = gguf.file_bytes();
  model.maps = gguf.maps();
  model.weights.maps = model.maps;
  return model;
}

}  // namespace

uint64_t count_parameters(const Weights& weights) {
  int64_t elements = weights.embedding.elements() + weights.head.elements() + weights.final_norm.elements();
  for (const LayerWeights& w : weights.layers) {
    for (const TensorView* tensor : {&w.attn_norm, &w.q, &w.k, &w.v, &w.q_norm, &w.k_norm, &w.attn_out,
                                     &w.post_attn_norm, &w.ffn_norm, &w.gate, &w.up, &w.down, &w.post_ffn_norm}) {
      elements += tensor->elements();
    }
  }
  return static_cast<uint64_t>(elements);
}

Error no_embedding(const std::string& file) {
  return {ErrorCode::kCorruptFile,
          fmt::format("{}: the token embedding is missing, expected a whole Gemma 3 model", file)};
}

void settle_turns(ModelFile& model, bool is_tuned) {
  model.has_chat_template = !model.chat_template.empty() || is_tuned;
  if (model.chat_template.empty() && is_tuned) {
    model.notes.emplace_back("no chat template in the file, but the model is instruction-tuned: it gets Gemma's turns");
  }
}

Result<ModelFile> ModelFile::open(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return open_model_directory(path);
  // Whatever its name: blobs of a content-addressed store have none that says what they are.
  return open_gguf(path);
}

}  // namespace carat
