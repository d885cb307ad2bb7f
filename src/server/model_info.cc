#include "server/model_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <mutex>

#include "model/file_details.h"
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
      facts = *loaded.front().facts;
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

namespace {

void write_number(JsonWriter& json, GgufType type, std::span<const std::byte> bytes, size_t index) {
  visit_gguf_number(type, bytes, index, [&](auto number) {
    if constexpr (std::is_same_v<decltype(number), bool>) {
      json.value(number);
    } else {
      json.value(+number);  // an 8-bit one is no character
    }
  });
}

// Arrays are told to whoever asks for everything.
void write_value(JsonWriter& json, const GgufValue& value, bool verbose) {
  if (value.type == GgufType::kString) {
    json.value(std::string_view(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()));
    return;
  }
  if (value.type != GgufType::kArray) return write_number(json, value.type, value.bytes, 0);
  if (!verbose || value.element == GgufType::kArray) {
    json.null();
    return;
  }
  json.begin_array();
  if (value.element == GgufType::kString) {
    for (const std::string_view text : GgufStrings(value.bytes, value.count)) json.value(text);
  } else {
    for (size_t i = 0; i < value.count; ++i) write_number(json, value.element, value.bytes, i);
  }
  json.end_array();
}

// What a Hugging Face directory says with other words, under a GGUF's names.
void write_config(JsonWriter& json, const ModelFile& file) {
  const ModelConfig& config = file.config;
  json.field("gemma3.attention.head_count", config.heads).field("gemma3.attention.head_count_kv", config.kv_heads);
  json.field("gemma3.attention.key_length", config.head_size);
  json.field("gemma3.attention.layer_norm_rms_epsilon", config.norm_epsilon);
  json.field("gemma3.attention.sliding_window", config.window);
  json.field("gemma3.attention.value_length", config.head_size);
  json.field("gemma3.block_count", config.layers).field("gemma3.context_length", config.context_length);
  json.field("gemma3.embedding_length", config.width).field("gemma3.feed_forward_length", config.ffn_width);
  json.field("gemma3.rope.freq_base", config.rope_base_global);
  json.field("general.architecture", "gemma3").field("general.parameter_count", file.parameters);
  json.field("general.type", "model").field("tokenizer.ggml.add_bos_token", config.adds_bos);
  json.field("tokenizer.ggml.bos_token_id", config.bos_id);
  if (!config.eos_ids.empty()) json.field("tokenizer.ggml.eos_token_id", config.eos_ids.front());
}

}  // namespace

Status write_model_info(JsonWriter& json, const chat::OpenModel& model, bool verbose) {
  CARAT_TRY(const FileDetails details, file_details(model.resolved.path, model.file));
  json.key("model_info").begin_object();
  if (details.gguf) {
    std::map<std::string_view, const GgufValue*> sorted;
    for (const GgufValue& value : details.gguf->values()) sorted.emplace(value.key, &value);
    for (const char* left_out : {"general.name", "general.parameter_count", "tokenizer.chat_template"}) {
      sorted.erase(left_out);
    }
    for (const auto& [key, value] : sorted) {
      json.key(key);
      write_value(json, *value, verbose);
    }
    json.field("general.parameter_count", model.file.parameters);
  } else {
    write_config(json, model.file);
  }
  json.end_object().key("tensors").begin_array();
  for (const TensorView& tensor : details.tensors) {
    std::string type(dtype_info(tensor.type).name);
    std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return std::toupper(c); });
    json.begin_object().field("name", tensor.name).field("type", type).key("shape").begin_array();
    json.value(tensor.columns);
    if (tensor.rows != 1) json.value(tensor.rows);
    json.end_array().end_object();
  }
  json.end_array();
  return {};
}

}  // namespace carat::server
