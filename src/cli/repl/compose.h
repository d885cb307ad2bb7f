// A prompt written in the user's own editor (Ctrl-G).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace carat::cli {

// Opens CARAT_EDITOR, OLLAMA_EDITOR, VISUAL, EDITOR, else vi, on a temporary file that holds `text`, and returns what
// the file holds when the editor ends, without newlines at its end. The terminal must be in its ordinary mode.
// Errors: kIo, kCancelled (the editor said that it failed).
Result<std::string> compose_in_editor(std::string_view text);

}  // namespace carat::cli
