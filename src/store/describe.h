// What a manifest says about its weights, read from the weights: so that a list of models need not open them.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "store/manifest.h"

namespace carat {

// Opens the model and sets family, size, quantisation, and whether it is a base model. Errors: those of ModelFile::open.
Status describe_model(const std::filesystem::path& path, Manifest& manifest);

}  // namespace carat
