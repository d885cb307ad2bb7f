// Gets a model into the store by its name. The sources are tried in order, and each either says that it does not know
// the name or gets it; when none knows it, the error lists what was tried. A source that fetches other weights than the
// name means would be a lie, so each goes by a table or a registry, never by a resemblance of names.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "store/pull/observer.h"
#include "store/store.h"

namespace carat {

// Errors: kNotFound (no source has it; the message says what can be had), kNetwork, kIo, kCorruptFile, kCancelled.
Status pull(const Store& store, const ModelName& name, PullObserver& observer);

// A copy of a GGUF file (or, by its first file, a split one) or of a Hugging Face folder in the store, under this name.
// The model is opened and checked first. Errors: those of ModelFile::open, kIo, kCancelled.
Status import_model(const Store& store, const ModelName& name, const std::filesystem::path& path,
                    PullObserver& observer);

}  // namespace carat
