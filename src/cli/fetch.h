// How a command gets at a model: one that the store does not have is pulled, one whose files were never hashed here is
// hashed, both with their progress on standard error.
#pragma once

#include <string>

#include "chat/open_model.h"

namespace carat::cli {

// What a user typed, "http://" included: a registry may be asked without TLS if that, or --insecure, says so.
// Errors: those of pull and of chat::resolve_model, chat::open_model; kCancelled for Ctrl-C.
Result<ResolvedModel> resolve_or_fetch(const std::string& typed_name, bool insecure = false);
Result<chat::OpenModel> open_or_fetch(const std::string& typed_name, bool insecure = false);

// The same, of what is here already.
Result<ResolvedModel> resolve_here(const std::string& typed_name);
Result<chat::OpenModel> open_here(const std::string& typed_name);

}  // namespace carat::cli
