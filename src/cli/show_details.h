// What `carat show -v` adds: the metadata of a GGUF file as it stands there, and every tensor.
#pragma once

#include <string>

#include "base/result.h"
#include "model/model_file.h"

namespace carat::cli {

// In Ollama's layout: the blocks Metadata (none for a Hugging Face directory) and Tensors, shapes innermost first.
// Errors: those of GgufFile::open.
Result<std::string> details_text(const std::filesystem::path& path, const ModelFile& file);

}  // namespace carat::cli
