// What opening a GGUF file and opening a directory have in common. Internal to model/: use ModelFile::open.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "model/model_file.h"

namespace carat {

uint64_t count_parameters(const Weights& weights);

Error no_embedding(const std::string& file);

// Whether the model knows turns, from its template or, without one, from what else its file says.
void settle_turns(ModelFile& model, bool is_tuned);

Result<ModelFile> open_model_directory(const std::filesystem::path& directory);

}  // namespace carat
