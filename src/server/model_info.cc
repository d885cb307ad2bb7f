#include "server/model_info.h"

#include <fmt/format.h>

#include <map>
#include <mutex>

#include "server/errors.h"

namespace carat::server {
namespace {

// A model's file is opened once for what it says; the manifest's digest stands for it.
Result<chat::ModelFacts> remembered_facts(const StoredModel& stored) {
  static std::mutex mutex;
  static std::map<std::string, chat::ModelFacts> known;
  const std::string digest = stored.digest.hex();
  {
    const std::lock_guard lock(mutex);
    if (const auto it = known.find(digest); it != known.end()) return it->second;
  }
  CARAT_TRY(chat::ModelFacts facts, chat::stored_facts(stored));
  const std::lock_guard lock(mutex);
  if (known.size() > 1000) known.clear();
  return known.insert_or_assign(digest, std::move(facts)).first->second;
}

constexpr const char* kGemmaTemplate =
    "{{- range $i, $_ := .Messages }}\n{{- $last := eq (len (slice $.Messages $i)) 1 }}\n"
    "{{- if or (eq .Role \"user\") (eq .Role \"system\") }}<start_of_turn>user\n{{ .Content }}<end_of_turn>\n"
    "{{ if $last }}<start_of_turn>model\n{{ end }}\n{{- else if eq .Role \"assistant\" }}<start_of_turn>model\n"
    "{{ .Content }}{{ if not $last }}<end_of_turn>\n{{ end }}\n{{- end }}\n{{- end }}";

}  // namespace

Result<std::vector<chat::ModelFacts>> known_models(App& app) {
  std::vector<chat::ModelFacts> all;
  if (app.models().has_pinned()) {
    const std::vector<LoadedModelInfo> loaded = app.models().loaded();
    chat::ModelFacts facts;
    if (loaded.empty()) {
      CARAT_TRY(const chat::OpenModel opened, app.models().open(app.models().pinned_names()[0]));
      facts = chat::facts_of(opened);
    } else {
      facts = chat::facts_of(*loaded.front().model);
    }
    for (const std::string& name : app.models().pinned_names()) {
      facts.name = name;
      all.push_back(facts);
    }
    return all;
  }
  const auto listing = app.store().list();
  if (!listing) return for_clients(listing.error());
  for (const StoredModel& stored : listing->models) {
    auto facts = remembered_facts(stored);
    if (!facts) continue;  // a damaged one is no reason not to list the others
    facts->name = stored.name.text();
    facts->modified = stored.modified;
    all.push_back(std::move(*facts));
  }
  return all;
}

std::string template_text(const chat::OpenModel& model) {
  if (model.resolved.prompt_template) return *model.resolved.prompt_template;
  return model.file.has_chat_template ? kGemmaTemplate : "{{ .Prompt }}";
}

void write_model_info(JsonWriter& json, const chat::OpenModel& model, bool verbose) {
  const ModelConfig& config = model.file.config;
  json.key("model_info").begin_object();
  json.field("gemma3.attention.head_count", config.heads).field("gemma3.attention.head_count_kv", config.kv_heads);
  json.field("gemma3.attention.key_length", config.head_size);
  json.field("gemma3.attention.layer_norm_rms_epsilon", config.norm_epsilon);
  json.field("gemma3.attention.sliding_window", config.window);
  json.field("gemma3.attention.value_length", config.head_size);
  json.field("gemma3.block_count", config.layers).field("gemma3.context_length", config.context_length);
  json.field("gemma3.embedding_length", config.width).field("gemma3.feed_forward_length", config.ffn_width);
  json.field("gemma3.rope.freq_base", config.rope_base_global);
  json.field("general.architecture", "gemma3").field("general.parameter_count", model.file.parameters);
  json.field("general.type", "model").field("tokenizer.ggml.model", "llama").field("tokenizer.ggml.pre", "default");
  json.field("tokenizer.ggml.add_bos_token", true).field("tokenizer.ggml.add_eos_token", false);
  json.field("tokenizer.ggml.bos_token_id", config.bos_id);
  json.field("tokenizer.ggml.eos_token_id", config.eos_ids.empty() ? 1 : config.eos_ids.front());
  json.field("tokenizer.ggml.padding_token_id", 0).field("tokenizer.ggml.unknown_token_id", 3);
  json.key("tokenizer.ggml.tokens");
  if (verbose) {
    json.begin_array();
    for (const std::string_view piece : model.file.vocabulary.pieces) json.value(piece);
    json.end_array();
  } else {
    json.null();
  }
  json.end_object();
}

}  // namespace carat::server
