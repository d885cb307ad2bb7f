// What clients of Ollama ask for, read from JSON and checked in one place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "chat/generation_options.h"
#include "server/http.h"
#include "server/models.h"
#include "server/picture_source.h"
#include "server/tools.h"
#include "store/create.h"
#include "tokenizer/chat_template.h"

namespace carat::server {

// Options by name with their values as text, types checked.
using OllamaOptions = std::vector<std::pair<std::string, std::vector<std::string>>>;

struct OllamaCommon {
  std::string model;  // as the client wrote it: answers repeat it
  bool stream = true;
  std::optional<KeepAlive> keep_alive;
  OllamaOptions options;
  std::string format;  // "": none; "json", or a JSON schema as text
  bool think = false;
  bool truncate = true;  // what is too long loses its middle, or its oldest turns
  bool shift = true;     // an answer that fills the context goes on in half of it
  int32_t num_keep = 4;  // tokens of the beginning, beside <bos>, that both keep
  bool logprobs = false;
  int32_t top_logprobs = 0;
  Pictures pictures;
  OfferedTools tools;  // of a chat
};

struct OllamaGenerate : OllamaCommon {
  std::string prompt, suffix, system;
  bool has_system = false;
  std::optional<std::string> prompt_template;
  std::vector<int32_t> context;
  bool raw = false;
};

struct OllamaChat : OllamaCommon {
  std::vector<ChatMessage> messages;
};

struct OllamaEmbed : OllamaCommon {
  std::vector<std::string> input;
  int32_t dimensions = 0;
  bool old_form = false;  // /api/embeddings: one prompt, one embedding
};

// Of /api/show, delete, pull, push, copy, create: texts by name.
struct OllamaNames {
  std::string model, source, destination;
  bool stream = true, verbose = false, insecure = false;
};

struct OllamaCreate {
  std::string model;
  CreateRequest made_of;
  bool stream = true;
};

// Errors: kInvalidArgument in Go's and Ollama's words.
Result<OllamaCreate> parse_ollama_create(const std::string& body);
Result<OllamaGenerate> parse_ollama_generate(const std::string& body);
Result<OllamaChat> parse_ollama_chat(const std::string& body);
Result<OllamaEmbed> parse_ollama_embed(const std::string& body, bool old_form);
Result<OllamaNames> parse_ollama_names(const std::string& body, const char* type);

// The options over what the model's makers recommend. Errors: kInvalidArgument.
Status apply_ollama_options(chat::GenerationOptions& generation, const OllamaOptions& options);

}  // namespace carat::server
