// From what a user types for MODEL, a path or a name of the store, to an opened and checked file with all that is known
// about using it.
#pragma once

#include <string>

#include "base/result.h"
#include "model/model_file.h"
#include "store/store.h"

namespace carat::cli {

struct OpenModel {
  ResolvedModel resolved;  // name, prompt template, stops, parameters; its locks keep the files while this lives
  ModelFile file;
};

// A name that the store does not have is pulled first. Errors: those of resolve_or_pull and ModelFile::open.
Result<OpenModel> open_model(const std::string& name_or_path);

}  // namespace carat::cli
