// Sizes, counts and times as people say them, in Ollama's words: "253 MB", "268.10M", "About a minute ago".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace carat::chat {

std::string human_bytes(uint64_t bytes);              // decimal units: "812 B", "1.9 GB", "253 MB"
std::string human_count(uint64_t count);              // "268.10M", "4.3B"
std::string human_ago(std::chrono::nanoseconds age);  // "14 minutes ago"
std::string human_seconds(uint64_t seconds);          // "42s", "3m07s", "1h02m": time left

}  // namespace carat::chat
