// How a command gets a model that the store does not have: it pulls it, with its progress on standard error.
#pragma once

#include <string_view>

#include "chat/open_model.h"

namespace carat::cli {

// For chat::open_model. Errors: those of pull.
Status fetch_missing(const Store& store, const ModelName& name);

// The same for what a user typed, "http://" included: a registry may be asked without TLS if that, or --insecure, says
// so.
chat::Fetch fetch_typed(std::string_view typed_name, bool insecure);

}  // namespace carat::cli
