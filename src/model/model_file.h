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

#include "base/file_map.h"
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
  std::optional<float> temperature, top_p, min_p, typical_p, repetition_penalty;
  std::optional<int32_t> top_k, repeat_last_n, max_tokens, min_tokens;
  std::vector<std::string> stops;  // texts that end an answer
};

struct ModelFile {
  ModelConfig config;
  Weights weights;
  SamplingDefaults sampling;
  // Where the tokenizer comes from: a GGUF's arrays, or a directory's tokenizer.json / tokenizer.model.
  VocabularyView vocabulary;              // GGUF only
  std::filesystem::path tokenizer_json;   // directories only, else empty
  std::filesystem::path tokenizer_model;  // directories only, else empty
  std::string chat_template;              // as the file holds it (Jinja); empty: none
  bool has_tower = false;                 // a vision tower (model/vision.h) lies in the same file
  bool has_chat_template = false;         // that, or instruction-tuned without one; else it is a base model
  std::vector<std::string> notes;         // for people: what the file says wrongly and was put right, one line each
  std::string quantisation;               // for people: "Q4_K_M", "BF16", "mixed Q4_0"
  uint64_t parameters = 0;
  uint64_t file_bytes = 0;
  FileMaps maps;  // keeps the mapped files alive; check(maps) once everything was read

  // Errors: kNotFound, kCorruptFile (which file, which field, what was expected), kUnsupported (not Gemma 3).
  static Result<ModelFile> open(const std::filesystem::path& path);

  // Nothing that was read was missing: asked after an answer, whose tokenizer still reads the map. Error: kIo.
  Status whole() const { return carat::whole(maps); }
};

// The files of a Hugging Face directory that make up the model, by name: those that open() and the tokenizer read, so
// that a copy of them opens as the original does. Errors: kNotFound, kIo, kCorruptFile (an index that cannot be read).
Result<std::vector<std::string>> model_directory_files(const std::filesystem::path& directory);

}  // namespace carat
