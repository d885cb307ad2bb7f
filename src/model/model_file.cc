// Opening is always the same four steps: read the configuration, check it for sense, match every tensor against the
// table, collect what the tokenizer and the sampler need.
#include "model/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "model/gguf_config.h"
#include "model/hf_config.h"
#include "model/json_fields.h"
#include "model/tensors.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

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

Result<ModelFile> open_gguf(const fs::path& path) {
  CARAT_TRY(const GgufFile gguf, GgufFile::open(path));
  const TensorView* embedding = find_embedding(gguf.tensors(), TensorNaming::kGguf);
  ModelFile model;
  CARAT_TRY(model.config, parse_gguf_config(gguf, embedding != nullptr ? embedding->rows : 0));
  if (embedding == nullptr) return no_embedding(gguf.name());
  CARAT_CHECK(validate(model.config, gguf.name()));
  CARAT_TRY(model.weights, bind_tensors(model.config, gguf.tensors(), TensorNaming::kGguf, gguf.name()));
  CARAT_TRY(model.vocabulary, read_gguf_vocabulary(gguf, model.config.vocabulary));
  CARAT_TRY(model.sampling, read_gguf_sampling(gguf));
  CARAT_TRY(model.quantisation, gguf_quantisation(gguf));
  CARAT_TRY(const auto chat_template, gguf.find_string("tokenizer.chat_template"));
  model.has_chat_template = chat_template && !chat_template->empty();
  model.parameters = count_parameters(model.weights);
  model.file_bytes = gguf.file_bytes();
  model.maps = gguf.maps();
  model.weights.mapped = true;
  return model;
}

// The tensors of the text model; what belongs to vision may be of any type and shape.
Result<std::vector<TensorView>> text_tensors(const SafetensorsFile& file) {
  std::vector<TensorView> tensors;
  for (const SafetensorsEntry& entry : file.entries()) {
    if (is_vision_tensor(entry.name)) continue;
    CARAT_TRY(TensorView tensor, file.tensor(entry.name));
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

fs::path if_exists(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) ? path : fs::path();
}

bool directory_has_chat_template(const fs::path& directory) {
  return !if_exists(directory / "chat_template.jinja").empty() ||
         !if_exists(directory / "chat_template.json").empty() ||
         json_object_has((directory / "tokenizer_config.json").string(), "chat_template");
}

Result<ModelFile> open_directory(const fs::path& directory) {
  const std::string config_file = (directory / "config.json").string();
  ModelFile model;
  ModelConfig& config = model.config;
  CARAT_TRY(const nlohmann::json json, read_json_object(config_file));
  CARAT_TRY(config, parse_hf_config(json, config_file));
  config.name = fs::absolute(directory).lexically_normal().filename().string();
  if (const fs::path generation = if_exists(directory / "generation_config.json"); !generation.empty()) {
    CARAT_TRY(const nlohmann::json fields, read_json_object(generation.string()));
    CARAT_CHECK(merge_generation_config(fields, generation.string(), config, model.sampling));
  }
  const int32_t rows = std::exchange(config.vocabulary, std::min(config.vocabulary, kMaxVocabulary));
  config.eos_ids = stop_ids(std::move(config.eos_ids), config.vocabulary);
  CARAT_CHECK(validate(config, config_file));

  CARAT_TRY(const SafetensorsFile file, SafetensorsFile::open(directory));
  CARAT_TRY(const std::vector<TensorView> tensors, text_tensors(file));
  const TensorView* embedding = find_embedding(tensors, TensorNaming::kHuggingFace);
  if (embedding == nullptr) return no_embedding(file.name());
  if (embedding->rows != rows) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: vocab_size is {}, expected {}, the rows of {}", config_file,
                                                      rows, embedding->rows, embedding->name)};
  }
  CARAT_TRY(model.weights, bind_tensors(config, tensors, TensorNaming::kHuggingFace, file.name()));
  model.tokenizer_json = if_exists(directory / "tokenizer.json");
  model.tokenizer_model = if_exists(directory / "tokenizer.model");
  model.has_chat_template = directory_has_chat_template(directory);
  model.quantisation = dtype_info(embedding->type).name;
  std::transform(model.quantisation.begin(), model.quantisation.end(), model.quantisation.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  model.parameters = count_parameters(model.weights);
  model.file_bytes = file.file_bytes();
  model.maps = file.maps();
  model.weights.mapped = true;
  return model;
}

}  // namespace

Result<ModelFile> ModelFile::open(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return open_directory(path);
  // Whatever its name: blobs of a content-addressed store have none that says what they are.
  return open_gguf(path);
}

}  // namespace carat
