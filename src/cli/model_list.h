// The table of `carat list` and of the REPL's /list.
#pragma once

#include <string>
#include <vector>

#include "cli/remote.h"
#include "store/store.h"

namespace carat::cli {

std::string model_table(const std::vector<StoredModel>& models);
std::string model_table(const std::vector<StoredThere>& models);  // of a server  // NAME ID SIZE MODIFIED

}  // namespace carat::cli
