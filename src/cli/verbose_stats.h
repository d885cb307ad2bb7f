// The eight figures that `ollama run --verbose` prints after an answer, letter for letter.
#pragma once

#include <cstdint>
#include <string>

#include "engine/request.h"

namespace carat::cli {

struct VerboseStats {
  double total_seconds = 0;
  double load_seconds = 0;
  Usage usage;  // of the prompt, only what was computed counts
};

// As Go prints a time.Duration: "848.402707ms", "1m2.5s", "79.4µs", "0s".
std::string go_duration(int64_t nanoseconds);

// Eight lines, each ending in a newline; a figure of zero is left out.
std::string format_verbose(const VerboseStats& stats);

}  // namespace carat::cli
