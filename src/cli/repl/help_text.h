// The texts of /? and of incomplete commands, in Ollama's words.
#pragma once

#include <string_view>

namespace carat::cli {

extern const std::string_view kHelpCommands, kHelpSet, kHelpParameters, kHelpShow, kHelpShortcuts;

}  // namespace carat::cli
