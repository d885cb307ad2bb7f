// A Hugging Face directory's config.json and generation_config.json.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/config.h"
#include "model/model_file.h"

namespace carat {

// Reads the text model's hyper-parameters from a config.json of any age: flat (270M, 1B) or under text_config (4B and
// up, whose files leave out what equals the class's defaults); sliding_window_pattern or layer_types; rope_theta with
// rope_local_base_freq and rope_scaling, or transformers 5's rope_parameters. The result is not validated yet, and
// `vocabulary` is the number of rows, to be checked against the embedding.
// Errors: kUnsupported (not Gemma 3, or a variant of it that differs in its arithmetic), kCorruptFile.
Result<ModelConfig> parse_hf_config(const nlohmann::json& json, const std::string& file);

// Merges a generation_config.json: its eos ids into `config`, its sampling values into `sampling`.
Status merge_generation_config(const nlohmann::json& json, const std::string& file, ModelConfig& config,
                               SamplingDefaults& sampling);

}  // namespace carat
