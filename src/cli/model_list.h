// The table of `carat list` and of the REPL's /list.
#pragma once

#include <string>
#include <vector>

#include "store/store.h"

namespace carat::cli {

std::string model_table(const std::vector<StoredModel>& models);  // NAME ID SIZE MODIFIED

}  // namespace carat::cli
