// A Hugging Face directory: config.json and its companions, safetensors, and which files the tokenizer is made of.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/file_map.h"
#include "base/json.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "model/hf_config.h"
#include "model/json_fields.h"
#include "model/model_parts.h"
#include "model/named_tokens.h"
#include "model/tensors.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

// The tensors of the text model; what belongs to vision may be of any type and shape.
Result<std::vector<TensorView>> text_tensors(const SafetensorsFile& file) {
  std::vector<TensorView> tensors;
  for (const SafetensorsEntry& entry : file.entries()) {
    if (is_skipped_tensor(entry.name)) continue;
    CARAT_TRY(TensorView tensor, file.tensor(entry.name));
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

constexpr size_t kMaxTemplateBytes = size_t{1} << 20;

// "chat_template": a text; null; or a list of named ones, of which "default" counts.
Result<std::string> chat_template_of(const nlohmann::json& json, const JsonFields& fields) {
  if (!fields.has("chat_template")) return std::string();
  const nlohmann::json& value = json["chat_template"];
  if (!value.is_array()) {
    CARAT_TRY(const auto text, fields.text("chat_template"));
    return text.value_or("");
  }
  for (const nlohmann::json& entry : value) {
    if (!entry.is_object()) return fields.unexpected("chat_template", "a text, or a list of named ones");
    const JsonFields named(entry, fields.where() + ": chat_template");
    CARAT_TRY(const auto name, named.text("name"));
    CARAT_TRY(const auto text, named.text("template"));
    if (name == "default" && text) return *text;
  }
  return fields.unexpected("chat_template", "one that is named \"default\"");
}

fs::path if_exists(const fs::path& path) {
  std::error_code ignored;  // a dangling link is there, and opening it says what is wrong
  const bool is_there = fs::exists(fs::symlink_status(path, ignored)) && !fs::is_directory(path, ignored);
  return is_there ? path : fs::path();
}

// Reads tokenizer_config.json, and the chat template from whichever file holds it; the newest way wins.
Status read_tokenizer_config(const fs::path& directory, ModelFile& model, std::string& eos_token) {
  if (const fs::path path = if_exists(directory / "chat_template.jinja"); !path.empty()) {
    CARAT_TRY(const FileMap map, FileMap::open(path));
    if (map.bytes().size() > kMaxTemplateBytes) {
      return Error{ErrorCode::kCorruptFile, fmt::format("{}: {} bytes, expected at most {}", path.string(),
                                                        map.bytes().size(), kMaxTemplateBytes)};
    }
    model.chat_template.assign(reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size());
  }
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const fs::path path = if_exists(directory / name);
    if (path.empty()) continue;
    CARAT_TRY(const nlohmann::json json,
              read_json_members(path.string(), {"chat_template", "eos_token", "add_bos_token", "add_eos_token"}));
    const JsonFields fields(json, path.string());
    CARAT_TRY(model.config.adds_bos, fields.flag("add_bos_token", model.config.adds_bos));
    CARAT_TRY(const bool adds_eos, fields.flag("add_eos_token", false));
    if (adds_eos) return fields.unexpected("add_eos_token", "false: a prompt does not end with an end token");
    CARAT_TRY(std::string text, chat_template_of(json, fields));
    if (model.chat_template.empty()) model.chat_template = std::move(text);
    if (fields.has("eos_token")) {  // a text, or an added token
      const nlohmann::json& token = json["eos_token"];
      const nlohmann::json& content = token.is_object() && token.contains("content") ? token["content"] : token;
      if (!content.is_string()) return fields.unexpected("eos_token", "a token");
      eos_token = content.get<std::string>();
    }
  }
  return {};
}

// Tokens beyond Gemma's own that only the slow tokenizer's files name, where there is no tokenizer.json.
Status refuse_slow_added_tokens(const fs::path& directory) {
  std::vector<std::pair<std::string, std::string>> added;  // file, token
  if (const fs::path path = if_exists(directory / "added_tokens.json"); !path.empty()) {
    CARAT_TRY(const nlohmann::json json, read_json_object(path.string()));
    for (const auto& [piece, id] : json.items()) added.emplace_back(path.string(), piece);
  }
  if (const fs::path path = if_exists(directory / "tokenizer_config.json"); !path.empty()) {
    CARAT_TRY(const nlohmann::json json, read_json_members(path.string(), {"added_tokens_decoder"}));
    CARAT_TRY(const auto decoder, JsonFields(json, path.string()).object("added_tokens_decoder"));
    if (decoder) {
      for (const auto& [id, token] : json["added_tokens_decoder"].items()) {
        const bool beyond = id.size() > 6 || (id.size() == 6 && id >= std::to_string(kGemmaVocabulary));
        if (!beyond || !token.is_object()) continue;
        CARAT_TRY(const auto content, JsonFields(token, path.string()).text("content"));
        added.emplace_back(path.string(), content.value_or(id));
      }
    }
  }
  for (const auto& [file, piece] : added) {
    if (piece == "<image_soft_token>") continue;
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("{}: the token '{}' was added, and tokenizer.model does not know it: save the tokenizer as "
                    "tokenizer.json",
                    file, printable(piece))};
  }
  return {};
}

bool is_called_base(const std::string& name) {
  return name.ends_with("-pt") || name.ends_with("-base") || name.find("-pt-") != std::string::npos;
}

// The tokenizer's part of a directory: which rows are computed, which ids end an answer. Says whether the model is
// instruction-tuned, as far as one can tell without its template: it declares <end_of_turn> as one of its ends. Base
// models' config.json may do so too, but their settings of the tokenizer come without a template, and the ends of their
// generation_config.json (`generation_ends`) are others.
Result<bool> read_tokens(const fs::path& directory, const std::vector<int32_t>& generation_ends, ModelFile& model) {
  ModelConfig& config = model.config;
  const int32_t rows = config.vocabulary;
  std::string eos_token;
  CARAT_CHECK(read_tokenizer_config(directory, model, eos_token));
  NamedTokens tokens;
  if (!model.tokenizer_json.empty()) {
    constexpr int32_t kGooglesRows = 262208;  // beyond them, somebody made the embedding larger
    CARAT_TRY(tokens, named_tokens_of(model.tokenizer_json, rows > kGooglesRows));
  } else if (!model.tokenizer_model.empty()) {
    CARAT_CHECK(refuse_slow_added_tokens(directory));
  }
  CARAT_CHECK(tokens.settle_rows(rows, model.tokenizer_json.string(), config));
  if (config.bos_id == -1) config.bos_id = tokens.find("<bos>") >= 0 ? tokens.find("<bos>") : 2;
  if (const int32_t id = tokens.find(eos_token); id >= 0) config.eos_ids.push_back(id);
  if (config.eos_ids.empty()) config.eos_ids.push_back(1);  // Gemma3TextConfig's default
  // Without a tokenizer.json the numbers are Gemma's, if the vocabulary is.
  int32_t end_of_turn = tokens.find("<end_of_turn>");
  if (model.tokenizer_json.empty() && rows >= kGemmaVocabulary) end_of_turn = 106;
  const auto is_among = [end_of_turn](const std::vector<int32_t>& ids) {
    return end_of_turn >= 0 && std::find(ids.begin(), ids.end(), end_of_turn) != ids.end();
  };
  const bool has_settings = !if_exists(directory / "tokenizer_config.json").empty();
  const bool tuned = is_among(generation_ends) || (is_among(config.eos_ids) && !has_settings);
  config.eos_ids = tokens.end_ids(std::move(config.eos_ids));
  return tuned && !is_called_base(config.name);
}

// transformers takes lm_head only where the embeddings are not tied; then it must be there.
Status settle_head(const nlohmann::json& json, const std::string& config_file, Weights& weights) {
  const JsonFields root(json, config_file);
  CARAT_TRY(const auto text, root.object("text_config"));
  CARAT_TRY(bool tied, root.flag("tie_word_embeddings", true));
  if (text) {
    CARAT_TRY(const bool text_is_tied, text->flag("tie_word_embeddings", true));
    tied = tied && text_is_tied;
  }
  if (tied) weights.head = {};
  if (!tied && weights.head.rows == 0) {
    return Error{ErrorCode::kCorruptFile,
                 config_file + ": tie_word_embeddings is false, but there is no lm_head.weight"};
  }
  return {};
}

// What a folder holds instead of a model that can be run, in words that say what to do; empty where nothing is known.
std::string what_else(const fs::path& directory) {
  if (!if_exists(directory / "adapter_config.json").empty()) {
    return "holds an adapter (LoRA): merge it into its base model first (peft: merge_and_unload), then run the result";
  }
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".gguf"))
      return fmt::format("is a folder with a GGUF file in it: name the file, {}", printable(name));
    if (name.starts_with("pytorch_model") || name.ends_with(".pth") || name.ends_with(".pt")) {
      return fmt::format(
          "holds weights as pickled Python ({}), which can run code and is not read: save the model with "
          "safe_serialization=True, as model.safetensors",
          printable(name));
    }
    if (name.ends_with(".msgpack") || name.ends_with(".h5") || name.ends_with(".ckpt")) {
      return fmt::format("holds weights for another framework ({}): Carat reads safetensors and GGUF", printable(name));
    }
  }
  return "";
}

}  // namespace

Result<ModelFile> open_model_directory(const fs::path& directory) {
  const std::string config_file = (directory / "config.json").string();
  ModelFile model;
  ModelConfig& config = model.config;
  const bool has_weights = !if_exists(directory / "model.safetensors").empty() ||
                           !if_exists(directory / "model.safetensors.index.json").empty();
  if (!has_weights || if_exists(config_file).empty()) {
    if (const std::string what = what_else(directory); !what.empty()) {
      return Error{ErrorCode::kUnsupported, fmt::format("{}: {}", directory.string(), what)};
    }
  }
  CARAT_TRY(const nlohmann::json json, read_json_object(config_file));
  CARAT_TRY(config, parse_hf_config(json, config_file));
  config.name = fs::absolute(directory).lexically_normal().filename().string();
  std::vector<int32_t> generation_ends;
  if (const fs::path generation = if_exists(directory / "generation_config.json"); !generation.empty()) {
    CARAT_TRY(const nlohmann::json fields, read_json_object(generation.string()));
    CARAT_TRY(generation_ends, JsonFields(fields, generation.string()).integers("eos_token_id"));
    CARAT_CHECK(merge_generation_config(fields, generation.string(), config, model.sampling));
  }
  model.tokenizer_json = if_exists(directory / "tokenizer.json");
  model.tokenizer_model = if_exists(directory / "tokenizer.model");
  const int32_t rows = config.vocabulary;
  CARAT_TRY(const bool tuned, read_tokens(directory, generation_ends, model));
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
  CARAT_CHECK(settle_head(json, config_file, model.weights));
  settle_turns(model, tuned);
  model.quantisation = dtype_info(embedding->type).name;
  std::transform(model.quantisation.begin(), model.quantisation.end(), model.quantisation.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  model.has_tower = json.contains("vision_config") &&
                    std::any_of(file.entries().begin(), file.entries().end(),
                                [](const SafetensorsEntry& entry) { return is_vision_tensor(entry.name); });
  model.parameters = count_parameters(model.weights);
  model.file_bytes = file.file_bytes();
  model.maps = file.maps();
  model.weights.maps = model.maps;
  return model;
}

Result<std::vector<std::string>> model_directory_files(const fs::path& directory) {
  // Beside those, licenses and the processor's settings come along: small, and wanted by other programs.
  std::vector<std::string> names;
  for (const char* name :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
        "added_tokens.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json",
        "preprocessor_config.json", "processor_config.json"}) {
    if (!if_exists(directory / name).empty()) names.emplace_back(name);
  }
  CARAT_TRY(const std::vector<std::string> weights, safetensors_files(directory));
  names.insert(names.end(), weights.begin(), weights.end());
  return names;
}

}  // namespace carat
