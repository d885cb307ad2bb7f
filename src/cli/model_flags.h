// Where and how a model runs: the flags that every command with a model shares.
#pragma once

#include "chat/loaded_model.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's
class App;
}

namespace carat::cli {

// What runs where none of them is given: the best backend that this machine has.
chat::LoadOptions usual_loading();

// Sets them to what is usual. `options` must live until the command runs.
void add_model_flags(CLI::App& app, chat::LoadOptions& options);

}  // namespace carat::cli
