// What can be said about a model, as facts: what `carat show`, Ollama's /api/show and /api/tags and a Modelfile say is
// laid out from these, and nowhere else are they gathered.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "chat/open_model.h"
#include "model/config.h"
#include "store/store.h"

namespace carat::chat {

struct ModelFacts {
  std::string name;            // "gemma3:270m-pt"; a path as it was given
  std::filesystem::path path;  // of its weights: a file, or a folder
  std::string digest;          // of its manifest, 64 hexadecimal digits; empty for a path
  uint64_t size_bytes = 0;
  std::chrono::system_clock::time_point modified;

  std::string format;                 // "gguf" or "safetensors"
  std::string family = "gemma3";      // the architecture
  std::vector<std::string> families;  // all that it is made of
  uint64_t parameter_count = 0;
  std::string parameter_size;             // "268.10M"
  std::string quantization_level;         // "Q4_K_M"
  std::vector<std::string> capabilities;  // "completion", "vision", "tools" for whoever knows turns
  ModelConfig config;
  bool is_base = false;            // no chat template in its file: it completes text
  std::string turns;               // which chat template was found: "Gemma 3's", "ChatML"; empty for a base model
  std::vector<std::string> notes;  // what its file says wrongly and was put right

  std::string prompt_template;  // in Ollama's notation; empty: none of the manifest's
  std::string system;
  std::vector<std::pair<std::string, std::string>> parameters;  // by name; a stop each under "stop", at the end
  std::vector<ManifestMessage> messages;
  std::string license_name;  // the text: Store::license_text
};

ModelFacts facts_of(const ResolvedModel& model);  // without opening its file: what that says is left out
ModelFacts facts_of(const OpenModel& model);

// The same of a name in the store, whose file is opened for it: milliseconds. Errors: those of open_model.
Result<ModelFacts> stored_facts(const StoredModel& model);

// A line each: the name padded to 30, its value; stops quoted as in Go. Empty if there are none.
std::string parameters_text(const ModelFacts& facts);

// A Modelfile that would build this model again.
std::string modelfile_text(const ModelFacts& facts);

// "\nQuestion:" with its quotes and escapes.
std::string quoted(const std::string& text);

}  // namespace carat::chat
