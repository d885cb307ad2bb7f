// Two translations: JSON to layers, strict where a wrong value could do harm and lenient about what it does not know
// (a registry may add fields); and layers to what they mean.
#include "store/image_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/printable.h"
#include "store/json_access.h"
#include "store/model_name.h"

namespace carat {
namespace {

constexpr size_t kMaxLayers = 1024;
constexpr uint64_t kMaxBlobBytes = uint64_t{1} << 46;
constexpr size_t kMaxTextBytes = 1 << 20;
constexpr size_t kMaxMessagesBytes = 8 << 20;

constexpr std::string_view kOllama = "application/vnd.ollama.image.";
constexpr std::string_view kCaratFile = "application/vnd.carat.image.file";
constexpr std::string_view kConfigType = "application/vnd.docker.container.image.v1+json";

// A program of Ollama's writes the turns of such a model, and no template does: this one is known by its marks
// (tokenizer/template_kind.h).
constexpr std::string_view kFunctionGemma =
    "<start_of_turn>developer\n<start_function_declaration>declaration:<escape><end_function_declaration><end_of_turn>"
    "\n"
    "<start_function_call>call:<end_function_call><start_function_response>response:<end_function_response>";

Error corrupt(std::string_view where, std::string_view why) {
  return Error{ErrorCode::kCorruptFile, fmt::format("{}: {}", where, why)};
}

constexpr JsonLimits kLimits{.depth = 16, .token_bytes = kMaxMessagesBytes, .keys = 1000};

Result<ImageLayer> read_layer(const Json& json, const std::string& where) {
  if (!json.is_object()) return corrupt(where, "it is not a JSON object");
  ImageLayer layer;
  layer.media_type = json_text(json, "mediaType");
  const std::string digest = json_text(json, "digest");
  const auto parsed = Digest::parse(digest);
  if (!parsed) {
    return corrupt(where,
                   fmt::format("'digest' is '{}', not sha256: and 64 lower-case hexadecimal digits", escaped(digest)));
  }
  layer.blob.digest = *parsed;
  const auto size = json_count(json, "size");
  if (!size || *size > kMaxBlobBytes) {
    return corrupt(where, fmt::format("'size' is not a number from 0 to {}", kMaxBlobBytes));
  }
  layer.blob.size_bytes = *size;
  layer.name = json_text(json, "name");
  return layer;
}

Json to_json(const ImageLayer& layer) {
  Json json{{"mediaType", layer.media_type}, {"digest", layer.blob.digest.text()}, {"size", layer.blob.size_bytes}};
  if (!layer.name.empty()) json["name"] = layer.name;
  return json;
}

// A parameter's value as a Modelfile has it: 0.7, true, a text.
std::string parameter_text(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

Status read_parameters(const Json& json, std::string_view where, Manifest& manifest) {
  if (!json.is_object()) return corrupt(where, "the parameters are not a JSON object");
  for (const auto& [key, value] : json.items()) {
    if (key == "stop") {
      const Json list = value.is_array() ? value : Json::array({value});
      if (list.size() > 64) return corrupt(where, "more than 64 stop texts");
      for (const Json& stop : list) {
        if (!stop.is_string()) return corrupt(where, "a stop text that is no text");
        manifest.stops.push_back(stop.get<std::string>());
      }
    } else if (value.is_primitive() && !value.is_null()) {
      manifest.parameters.emplace_back(key, parameter_text(value));
    }
  }
  return {};
}

Status read_messages(const Json& json, std::string_view where, Manifest& manifest) {
  if (!json.is_array() || json.size() > 100000) return corrupt(where, "the messages are not a list");
  for (const Json& entry : json) {
    if (!entry.is_object()) return corrupt(where, "a message is not a JSON object");
    manifest.messages.push_back({json_text(entry, "role"), json_text(entry, "content")});
    const std::string& role = manifest.messages.back().role;
    if (role != "system" && role != "user" && role != "assistant") {
      return corrupt(where, fmt::format("the role '{}' is not system, user or assistant", escaped(role)));
    }
  }
  return {};
}

std::string first_line(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  text.remove_prefix(begin);
  std::string_view line = text.substr(0, text.find_first_of("\r\n"));
  while (!line.empty() && line.back() == ' ') line.remove_suffix(1);
  return std::string(line.substr(0, 100));
}

Status read_config(const ImageManifest& image, std::string_view where, const ReadBlobText& read, Manifest& manifest) {
  CARAT_TRY(const std::string text, read(image.config.blob, kMaxTextBytes));
  CARAT_TRY(const Json json, parse_json(text, fmt::format("{}: config", where), kLimits));
  if (!json.is_object()) return corrupt(where, "the config is not a JSON object");
  manifest.parameter_size = json_text(json, "model_type");
  manifest.quantisation = json_text(json, "file_type");
  manifest.family = json_text(json, "model_family");
  if (json_text(json, "renderer") == "functiongemma") manifest.prompt_template = kFunctionGemma;
  const Json* own = json_find(json, "carat");
  if (own == nullptr) return {};
  const Json* is_base = json_find(*own, "base_model");
  manifest.is_base_model = is_base != nullptr && *is_base == Json(true);
  if (const std::string name = json_text(*own, "license_name"); !name.empty()) manifest.license_name = name;
  manifest.source = json_text(*own, "source");
  manifest.created = json_text(*own, "created");
  return {};
}

Status read_file_layer(const ImageLayer& layer, std::string_view where, Manifest& manifest) {
  if (!is_plain_file_name(layer.name))
    return corrupt(where, fmt::format("'name' is '{}', no plain file name", escaped(layer.name)));
  const bool twice = std::any_of(manifest.files.begin(), manifest.files.end(),
                                 [&](const ManifestFile& file) { return file.name == layer.name; });
  if (twice) return corrupt(where, fmt::format("the name '{}' is there twice", layer.name));
  if (layer.name.find(".gguf") == std::string::npos) manifest.kind = ModelKind::kHuggingFace;
  manifest.files.push_back({layer.name, layer.blob});
  return {};
}

}  // namespace

std::vector<BlobRef> ImageManifest::blobs() const {
  std::vector<BlobRef> all;
  std::set<Digest> seen;
  for (const ImageLayer& layer : layers) {
    if (seen.insert(layer.blob.digest).second) all.push_back(layer.blob);
  }
  if (seen.insert(config.blob.digest).second) all.push_back(config.blob);
  return all;
}

Result<ImageManifest> parse_image_manifest(std::string_view text, std::string_view where_view) {
  const std::string where(where_view);
  CARAT_TRY(const Json json, parse_json(text, where, kLimits));
  if (!json.is_object()) return corrupt(where, "it is not a JSON object");
  if (json_count(json, "schemaVersion") != 2u) {
    return Error{ErrorCode::kUnsupported, where + ": its 'schemaVersion' is not 2: no manifest of a model"};
  }
  ImageManifest image;
  const Json* config = json_find(json, "config");
  if (config == nullptr) return corrupt(where, "the field 'config' is missing");
  CARAT_TRY(image.config, read_layer(*config, where + ": config"));
  const Json* layers = json_list(json, "layers");
  if (layers == nullptr || layers->empty() || layers->size() > kMaxLayers) {
    return corrupt(where, fmt::format("'layers' is not a list of 1 to {}", kMaxLayers));
  }
  for (const Json& layer : *layers) {
    CARAT_TRY(ImageLayer read, read_layer(layer, where + ": layers"));
    image.layers.push_back(std::move(read));
  }
  // One digest is one blob, so it has one size.
  for (const ImageLayer& a : image.layers) {
    const bool same = a.blob.digest != image.config.blob.digest || a.blob.size_bytes == image.config.blob.size_bytes;
    const ImageLayer& first = *std::find_if(image.layers.begin(), image.layers.end(),
                                            [&](const ImageLayer& b) { return b.blob.digest == a.blob.digest; });
    if (!same || first.blob.size_bytes != a.blob.size_bytes) return corrupt(where, "one digest with two sizes");
  }
  return image;
}

std::string to_json(const ImageManifest& image) {
  Json layers = Json::array();
  for (const ImageLayer& layer : image.layers) layers.push_back(to_json(layer));
  return Json{{"schemaVersion", 2},
              {"mediaType", kImageManifestType},
              {"config", to_json(image.config)},
              {"layers", std::move(layers)}}
      .dump();
}

Result<Manifest> manifest_of(const ImageManifest& image, std::string_view where, const ReadBlobText& read) {
  Manifest manifest;
  manifest.kind = ModelKind::kGguf;
  for (const ImageLayer& layer : image.layers) {
    const std::string_view type = layer.media_type;
    const std::string_view role = type.substr(0, kOllama.size()) == kOllama ? type.substr(kOllama.size()) : "";
    if (type == kCaratFile) {
      CARAT_CHECK(read_file_layer(layer, where, manifest));
      continue;
    }
    if (role == "model" && manifest.files.empty()) {
      manifest.files.push_back({"model.gguf", layer.blob});
      continue;
    }
    if (role == "projector" && !manifest.projector) {
      manifest.projector = layer.blob;
      continue;
    }
    if (role == "adapter") {
      manifest.adapters.push_back(layer.blob);
      continue;
    }
    if (role == "license" && !manifest.license) {
      manifest.license = layer.blob;
      // Only its first line is wanted here; a license that is longer than it should be has none.
      if (layer.blob.size_bytes <= kMaxTextBytes) {
        CARAT_TRY(const std::string text, read(layer.blob, kMaxTextBytes));
        manifest.license_name = first_line(text);
      }
      continue;
    }
    if (role == "tensor") {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: its weights are single tensors, which only Ollama's experimental engine reads; "
                               "take a tag with GGUF weights",
                               where)};
    }
    manifest.texts.push_back(layer.blob);
    if (role == "template" || role == "prompt") {
      CARAT_TRY(manifest.prompt_template, read(layer.blob, kMaxTextBytes));
    } else if (role == "system") {
      CARAT_TRY(manifest.system, read(layer.blob, kMaxTextBytes));
    } else if (role == "params") {
      CARAT_TRY(const std::string text, read(layer.blob, kMaxTextBytes));
      CARAT_TRY(const Json json, parse_json(text, fmt::format("{}: params", where), kLimits));
      CARAT_CHECK(read_parameters(json, where, manifest));
    } else if (role == "messages") {
      CARAT_TRY(const std::string text, read(layer.blob, kMaxMessagesBytes));
      CARAT_TRY(const Json json, parse_json(text, fmt::format("{}: messages", where), kLimits));
      CARAT_CHECK(read_messages(json, where, manifest));
    }
  }
  manifest.texts.push_back(image.config.blob);
  CARAT_CHECK(read_config(image, where, read, manifest));
  if (manifest.files.empty()) return corrupt(where, "it has no weights");
  return manifest;
}

Result<ImageManifest> image_of(const Manifest& manifest, const PutBlobText& put) {
  ImageManifest image;
  const auto add_text = [&](std::string_view role, const std::string& text) -> Status {
    CARAT_TRY(const BlobRef blob, put(text));
    image.layers.push_back({fmt::format("{}{}", kOllama, role), blob, ""});
    return {};
  };

  const bool single = manifest.kind == ModelKind::kGguf && manifest.files.size() == 1;
  for (const ManifestFile& file : manifest.files) {
    image.layers.push_back(
        {single ? fmt::format("{}model", kOllama) : std::string(kCaratFile), file.blob, single ? "" : file.name});
  }
  if (manifest.projector) image.layers.push_back({fmt::format("{}projector", kOllama), *manifest.projector, ""});
  for (const BlobRef& adapter : manifest.adapters)
    image.layers.push_back({fmt::format("{}adapter", kOllama), adapter, ""});
  if (manifest.prompt_template) CARAT_CHECK(add_text("template", *manifest.prompt_template));
  if (!manifest.system.empty()) CARAT_CHECK(add_text("system", manifest.system));
  if (manifest.license) image.layers.push_back({fmt::format("{}license", kOllama), *manifest.license, ""});
  if (!manifest.parameters.empty() || !manifest.stops.empty()) {
    Json parameters = Json::object();
    for (const auto& [name, value] : manifest.parameters) parameters[name] = json_value(value);
    if (!manifest.stops.empty()) parameters["stop"] = manifest.stops;
    CARAT_CHECK(add_text("params", json_line(parameters)));
  }
  if (!manifest.messages.empty()) {
    Json messages = Json::array();
    for (const ManifestMessage& message : manifest.messages)
      messages.push_back(Json{{"role", message.role}, {"content", message.content}});
    CARAT_CHECK(add_text("messages", json_line(messages)));
  }

  Json digests = Json::array();
  for (const ImageLayer& layer : image.layers) digests.push_back(layer.blob.digest.text());
  const std::string family = manifest.family.empty() ? "gemma3" : manifest.family;
  Json own{{"base_model", manifest.is_base_model}};
  if (!manifest.license_name.empty()) own["license_name"] = manifest.license_name;
  if (!manifest.source.empty()) own["source"] = manifest.source;
  if (!manifest.created.empty()) own["created"] = manifest.created;
  const Json config{{"model_format", manifest.kind == ModelKind::kGguf ? "gguf" : "safetensors"},
                    {"model_family", family},
                    {"model_families", Json::array({family})},
                    {"model_type", manifest.parameter_size},
                    {"file_type", manifest.quantisation},
                    {"architecture", "amd64"},
                    {"os", "linux"},
                    {"rootfs", {{"type", "layers"}, {"diff_ids", std::move(digests)}}},
                    {"carat", std::move(own)}};
  CARAT_TRY(const BlobRef blob, put(json_line(config)));
  image.config = {std::string(kConfigType), blob, ""};
  return image;
}

}  // namespace carat
