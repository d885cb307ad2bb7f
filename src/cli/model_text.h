// What `carat show` and the REPL's /show print about a model, in Ollama's layout.
#pragma once

#include <string>

#include "base/result.h"
#include "model/model_file.h"
#include "store/store.h"

namespace carat::cli {

// The blocks Model, Capabilities, Parameters, System, License; those that say nothing are left out. A base model (no
// chat template in the file) is called one in a block of its own.
std::string info_text(const ModelFile& file, const ResolvedModel& model);

// A line each: the name padded to 30, its value; texts quoted as in Go. Empty if there are none.
std::string parameters_text(const ResolvedModel& model);

// A Modelfile that would build this model again.
std::string modelfile_text(const ResolvedModel& model);

// "\nQuestion:" with its quotes and escapes.
std::string quoted(const std::string& text);

}  // namespace carat::cli
