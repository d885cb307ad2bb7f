// The manifest that registries, Ollama and this store have in common (Docker's image manifest, version 2): a list of
// layers, each a blob with a media type that says its role: weights, projector, adapter, template, system text,
// parameters, messages, license. Ollama's are read as they are; what Carat writes, Ollama reads. Beside weights in one
// GGUF, which every reader knows, a layer of Carat's own media type holds one named file of a Hugging Face folder or a
// split GGUF; what else only Carat knows stands in the config blob, where others do not look.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/manifest.h"

namespace carat {

inline constexpr std::string_view kImageManifestType = "application/vnd.docker.distribution.manifest.v2+json";

struct ImageLayer {
  std::string media_type;
  BlobRef blob;
  std::string name;  // a file's; of Carat's own layers
};

struct ImageManifest {
  ImageLayer config;
  std::vector<ImageLayer> layers;

  std::vector<BlobRef> blobs() const;  // config's too, each digest once
};

// Errors: kCorruptFile, naming the field; kUnsupported, another schema.
Result<ImageManifest> parse_image_manifest(std::string_view json, std::string_view where);
std::string to_json(const ImageManifest& image);

// What it means. `read` gives a small blob's text, of at most so many bytes. Errors: those of `read`, kCorruptFile,
// kUnsupported (weights that are neither a GGUF nor files of Carat's).
using ReadBlobText = std::function<Result<std::string>(const BlobRef&, size_t limit_bytes)>;
Result<Manifest> manifest_of(const ImageManifest& image, std::string_view where, const ReadBlobText& read);

// The other way. `put` stores a text.
using PutBlobText = std::function<Result<BlobRef>(std::string_view text)>;
Result<ImageManifest> image_of(const Manifest& manifest, const PutBlobText& put);

}  // namespace carat
