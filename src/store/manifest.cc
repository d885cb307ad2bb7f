// A manifest to JSON and back. Writing is plain; reading trusts nothing and names the field that is wrong.
#include "store/manifest.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "base/checked.h"
#include "base/printable.h"
#include "formats/json_guard.h"
#include "store/model_name.h"

namespace carat {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kSchema = 1;
constexpr size_t kMaxFiles = 1024;
constexpr uint64_t kMaxBlobBytes = uint64_t{1} << 46;

// Reads fields of one object; the first error stays, so a caller checks once.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) fail("it is not a JSON object");
  }

  const Json* find(const std::string& key, bool required) {
    known_.insert(key);
    if (error_) return nullptr;
    const auto found = object_.find(key);
    if (found != object_.end()) return &*found;
    if (required) fail(fmt::format("the field '{}' is missing", key));
    return nullptr;
  }

  std::string text(const std::string& key, bool required) {
    const Json* value = find(key, required);
    if (value == nullptr) return {};
    if (!value->is_string()) return fail(fmt::format("'{}' is not a text", key)), std::string();
    return value->get<std::string>();
  }

  bool flag(const std::string& key) {
    const Json* value = find(key, true);
    if (value == nullptr) return false;
    if (!value->is_boolean()) return fail(fmt::format("'{}' is neither true nor false", key)), false;
    return value->get<bool>();
  }

  uint64_t count(const std::string& key, uint64_t limit) {
    const Json* value = find(key, true);
    if (value == nullptr) return 0;
    if (!value->is_number_unsigned() || value->get<uint64_t>() > limit) {
      return fail(fmt::format("'{}' is not a number from 0 to {}", key, limit)), 0;
    }
    return value->get<uint64_t>();
  }

  const Json* array(const std::string& key, bool required, size_t limit) {
    const Json* value = find(key, required);
    if (value == nullptr) return nullptr;
    if (!value->is_array() || value->size() > limit) {
      return fail(fmt::format("'{}' is not a list of at most {}", key, limit)), nullptr;
    }
    return value;
  }

  BlobRef blob() {
    BlobRef ref;
    const std::string digest = text("digest", true);
    ref.size_bytes = count("size", kMaxBlobBytes);
    if (error_) return ref;
    if (const auto parsed = Digest::parse(digest)) {
      ref.digest = *parsed;
    } else {
      fail(fmt::format("'digest' is '{}', not sha256: and 64 lower-case hexadecimal digits", escaped(digest)));
    }
    return ref;
  }

  void fail(std::string_view why) {
    if (!error_) error_ = Error{ErrorCode::kCorruptFile, fmt::format("{}: {}", where_, why)};
  }

  Status finish() {
    if (error_) return *error_;
    for (const auto& [key, value] : object_.items()) {
      if (!known_.contains(key)) fail(fmt::format("the field '{}' is unknown", escaped(key)));
    }
    if (error_) return *error_;
    return {};
  }

 private:
  const Json& object_;
  std::string where_;
  std::set<std::string> known_;
  std::optional<Error> error_;
};

Json to_json(const BlobRef& blob) { return Json{{"digest", blob.digest.text()}, {"size", blob.size_bytes}}; }

Status read_files(const Json& list, const std::string& where, Manifest& manifest) {
  std::set<std::string> names;
  for (const Json& entry : list) {
    Reader reader(entry, where + ": files");
    ManifestFile file;
    file.name = reader.text("name", true);
    file.blob = reader.blob();
    CARAT_CHECK(reader.finish());
    if (!is_plain_file_name(file.name))
      reader.fail(fmt::format("'name' is '{}', no plain file name", escaped(file.name)));
    if (!names.insert(file.name).second) reader.fail(fmt::format("the name '{}' is there twice", file.name));
    CARAT_CHECK(reader.finish());
    manifest.files.push_back(std::move(file));
  }
  if (manifest.files.empty()) return Error{ErrorCode::kCorruptFile, where + ": 'files' is empty"};
  return {};
}

Status read_texts(Reader& reader, const std::string& where, Manifest& manifest) {
  if (const Json* stops = reader.array("stops", false, 64)) {
    for (const Json& stop : *stops) {
      if (!stop.is_string()) return Error{ErrorCode::kCorruptFile, where + ": 'stops' holds something that is no text"};
      manifest.stops.push_back(stop.get<std::string>());
    }
  }
  if (const Json* parameters = reader.find("parameters", false)) {
    if (!parameters->is_object()) return Error{ErrorCode::kCorruptFile, where + ": 'parameters' is not an object"};
    for (const auto& [key, value] : parameters->items()) {
      if (!value.is_string()) {
        return Error{ErrorCode::kCorruptFile, fmt::format("{}: parameter '{}' is not a text", where, escaped(key))};
      }
      manifest.parameters.emplace_back(key, value.get<std::string>());
    }
  }
  if (const Json* messages = reader.array("messages", false, 100000)) {
    for (const Json& entry : *messages) {
      Reader message(entry, where + ": messages");
      manifest.messages.push_back({message.text("role", true), message.text("content", true)});
      CARAT_CHECK(message.finish());
      const std::string& role = manifest.messages.back().role;
      if (role != "system" && role != "user" && role != "assistant") {
        return Error{ErrorCode::kCorruptFile,
                     fmt::format("{}: the role '{}' is not system, user or assistant", where, escaped(role))};
      }
    }
  }
  return {};
}

}  // namespace

bool is_plain_file_name(std::string_view name) {
  const auto safe = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !name.empty() && name.size() <= 200 && name[0] != '.' && std::all_of(name.begin(), name.end(), safe);
}

uint64_t Manifest::size_bytes() const {
  uint64_t sum = 0;
  for (const BlobRef& blob : blobs()) sum = checked_add(sum, blob.size_bytes).value_or(UINT64_MAX);
  return sum;
}

std::vector<BlobRef> Manifest::blobs() const {
  std::vector<BlobRef> all;
  for (const ManifestFile& file : files) all.push_back(file.blob);
  if (projector) all.push_back(*projector);
  all.insert(all.end(), adapters.begin(), adapters.end());
  if (license) all.push_back(*license);
  all.insert(all.end(), texts.begin(), texts.end());
  return all;
}

std::string to_json(const Manifest& manifest) {
  Json files = Json::array();
  for (const ManifestFile& file : manifest.files) {
    Json entry{{"name", file.name}};
    entry.update(to_json(file.blob));
    files.push_back(std::move(entry));
  }
  Json json{{"schema", kSchema},
            {"kind", manifest.kind == ModelKind::kGguf ? "gguf" : "huggingface"},
            {"files", std::move(files)},
            {"base_model", manifest.is_base_model}};
  if (manifest.prompt_template) json["template"] = *manifest.prompt_template;
  if (!manifest.stops.empty()) json["stops"] = manifest.stops;
  for (const auto& [name, value] : manifest.parameters) json["parameters"][name] = value;
  if (!manifest.system.empty()) json["system"] = manifest.system;
  for (const ManifestMessage& message : manifest.messages) {
    json["messages"].push_back(Json{{"role", message.role}, {"content", message.content}});
  }
  if (manifest.license) {
    json["license"] = Json{{"name", manifest.license_name}};
    json["license"].update(to_json(*manifest.license));
  }
  json["source"] = manifest.source;
  json["created"] = manifest.created;
  // Bytes that are not UTF-8 (a prompt pasted from a file) become U+FFFD: a manifest is always valid JSON.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<Manifest> parse_manifest(std::string_view text, std::string_view where_view) {
  const std::string where(where_view);
  constexpr JsonLimits kLimits{.depth = 8, .keys = 1000};
  if (const auto problem = check_json_limits(text, kLimits); !problem.empty()) {
    return Error{ErrorCode::kCorruptFile, fmt::format("{}: {}", where, problem)};
  }
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return Error{ErrorCode::kCorruptFile, where + ": it is not valid JSON; pull the model again, or remove it"};
  }
  Reader reader(json, where);
  const uint64_t schema = reader.count("schema", UINT32_MAX);
  Manifest manifest;
  const std::string kind = reader.text("kind", true);
  const Json* files = reader.array("files", true, kMaxFiles);
  manifest.is_base_model = reader.flag("base_model");
  if (json.is_object() && json.contains("template")) manifest.prompt_template = reader.text("template", true);
  manifest.system = reader.text("system", false);
  if (const Json* license = reader.find("license", false)) {
    Reader blob(*license, where + ": license");
    manifest.license_name = blob.text("name", false);
    manifest.license = blob.blob();
    CARAT_CHECK(blob.finish());
  }
  manifest.source = reader.text("source", false);
  manifest.created = reader.text("created", false);
  if (schema > kSchema) {
    return Error{ErrorCode::kUnsupported, where + ": it was written by a newer carat; update this one"};
  }
  CARAT_CHECK(read_texts(reader, where, manifest));
  if (kind != "gguf" && kind != "huggingface") reader.fail("'kind' is neither gguf nor huggingface");
  CARAT_CHECK(reader.finish());
  manifest.kind = kind == "gguf" ? ModelKind::kGguf : ModelKind::kHuggingFace;
  CARAT_CHECK(read_files(*files, where, manifest));
  return manifest;
}

std::string utc_now() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

}  // namespace carat
