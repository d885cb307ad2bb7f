// Times in JSON.
#pragma once

#include <chrono>
#include <string>

namespace carat::chat {

std::string rfc3339(std::chrono::system_clock::time_point time);  // "2026-11-24T08:00:00.123456789Z"

}  // namespace carat::chat
