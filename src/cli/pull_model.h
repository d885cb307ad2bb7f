// The model that a command was given, fetched first if it is a name that the store does not have.
#pragma once

#include <string_view>

#include "base/result.h"
#include "store/store.h"

namespace carat::cli {

// Progress goes to standard error. Errors: those of Store::resolve and of pull.
Result<ResolvedModel> resolve_or_pull(std::string_view name_or_path);

}  // namespace carat::cli
