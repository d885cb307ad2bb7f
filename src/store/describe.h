// What a manifest says about its weights, read from the weights: so that a list of models need not open them.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "store/manifest.h"
#include "store/model_name.h"

namespace carat {

// Opens the model and sets family, size, quantisation, and whether it is a base model. Errors: those of ModelFile::open.
Status describe_model(const std::filesystem::path& path, Manifest& manifest);

// kUnsupported if the manifest says that the model is of another family than Gemma 3; what does not say is let through.
Status check_family(const Manifest& manifest, const ModelName& name);

}  // namespace carat
