// Opens whatever holds a Gemma 3 model: a GGUF file (single or the first of a split set) or a Hugging Face directory.
// Everything is read-only, mapped, and hostile until checked against the one table in tensors.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/weights.h"

namespace carat {

// The vocabulary as the file holds it: views that live as long as the ModelFile.
struct VocabularyView {
  std::vector<std::string_view> pieces;  // by id; empty where the model has no tokenizer (the fixtures)
  std::vector<float> scores;             // by id; higher merges first
  std::vector<uint8_t> types;            // by id: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
};

// Sampling values that the model's makers recommend (generation_config.json, or general.sampling.* of a GGUF).
struct SamplingDefaults {
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
};

struct ModelFile {
  ModelConfig config;
  Weights weights;
  SamplingDefaults sampling;
  // Where the tokenizer comes from: a GGUF's arrays, or a directory's tokenizer.json / tokenizer.model.
  VocabularyView vocabulary;              // GGUF only
  std::filesystem::path tokenizer_json;   // directories only, else empty
  std::filesystem::path tokenizer_model;  // directories only, else empty
  bool has_chat_template = false;         // a file without one is a base model
  std::string quantisation;               // for people: "Q4_K_M", "BF16", "mixed Q4_0"
  uint64_t parameters = 0;
  uint64_t file_bytes = 0;
  std::shared_ptr<const void> maps;  // keeps the mapped files alive

  // Errors: kNotFound, kCorruptFile (which file, which field, what was expected), kUnsupported (not Gemma 3).
  static Result<ModelFile> open(const std::filesystem::path& path);
};

}  // namespace carat
