// What `carat show` and the REPL's /show info print about a model, in Ollama's layout.
#pragma once

#include <string>

#include "chat/model_facts.h"

namespace carat::cli {

// The blocks Model, Capabilities, Parameters, System, License; those that say nothing are left out. A base model (no
// chat template in the file) is called one in a block of its own.
std::string info_text(const chat::ModelFacts& facts);

}  // namespace carat::cli
