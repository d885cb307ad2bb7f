// What a model's file says of itself, as it stands there: every key of a GGUF's metadata, and every tensor.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "base/result.h"
#include "formats/gguf.h"
#include "model/model_file.h"

namespace carat {

struct FileDetails {
  std::optional<GgufFile> gguf;     // none for a Hugging Face directory
  std::vector<TensorView> tensors;  // in file order; views into `gguf` or into the model
};

// Of the open model at `path`. Errors: those of GgufFile::open.
Result<FileDetails> file_details(const std::filesystem::path& path, const ModelFile& file);

}  // namespace carat
