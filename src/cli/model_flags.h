// Where and how a model runs: the flags that every command with a model shares.
#pragma once

#include <cstdint>

#include "backend/backend.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's
class App;
}

namespace carat::cli {

struct ModelFlags {
  BackendOptions backend;
  int32_t chunk = 256;  // prompt tokens computed in one step
};

// `flags` must live until the command runs.
void add_model_flags(CLI::App& app, ModelFlags& flags);

}  // namespace carat::cli
