// The options of chat/generation_options as flags.
#pragma once

#include "chat/generation_options.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's
class App;
}

namespace carat::cli {

// Adds every flag in both spellings (--top-k, --top_k). `given` must live until the command runs.
void add_generation_flags(CLI::App& app, chat::GivenOptions& given);

}  // namespace carat::cli
