// How a command gets a model that the store does not have: it pulls it, with its progress on standard error.
#pragma once

#include "chat/open_model.h"

namespace carat::cli {

// For chat::open_model. Errors: those of pull.
Status fetch_missing(const Store& store, const ModelName& name);

}  // namespace carat::cli
