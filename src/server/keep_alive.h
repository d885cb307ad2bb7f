// Ollama's keep_alive: a number of seconds, or a duration as Go writes it; negative is forever.
#pragma once

#include <string_view>

#include "base/result.h"
#include "server/models.h"

namespace carat::server {

// "5m", "1h30m", "-1s", "1.5h"; Go's words for what is none: time: invalid duration "soon".
Result<KeepAlive> parse_duration(std::string_view text);
KeepAlive keep_alive_of_seconds(double seconds);

}  // namespace carat::server
