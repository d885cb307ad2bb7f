// Thresholds are those of Ollama's output, so that scripts which match it keep matching.
#include "chat/human.h"

#include <fmt/format.h>

#include <cmath>

namespace carat::chat {

std::string human_bytes(uint64_t bytes) {
  const struct {
    uint64_t unit;
    const char* name;
  } units[] = {{1'000'000'000'000, "TB"}, {1'000'000'000, "GB"}, {1'000'000, "MB"}, {1'000, "KB"}};
  for (const auto& [unit, name] : units) {
    if (bytes < unit) continue;
    const double value = static_cast<double>(bytes) / static_cast<double>(unit);
    if (value >= 10 || value == std::floor(value)) return fmt::format("{} {}", bytes / unit, name);
    return fmt::format("{:.1f} {}", value, name);
  }
  return fmt::format("{} B", bytes);
}

std::string human_count(uint64_t count) {
  const double value = static_cast<double>(count);
  if (count >= 1'000'000'000) return fmt::format("{:.{}f}B", value / 1e9, count % 1'000'000'000 == 0 ? 0 : 1);
  if (count >= 1'000'000) return fmt::format("{:.{}f}M", value / 1e6, count % 1'000'000 == 0 ? 0 : 2);
  if (count >= 1'000) return fmt::format("{:.0f}K", value / 1e3);
  return std::to_string(count);
}

std::string human_ago(std::chrono::nanoseconds age) {
  using Hours = std::chrono::duration<double, std::ratio<3600>>;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
  const auto minutes = seconds / 60;
  const auto hours = std::lround(std::chrono::duration_cast<Hours>(age).count());
  if (seconds < 1) return "Less than a second ago";
  if (seconds == 1) return "1 second ago";
  if (seconds < 60) return fmt::format("{} seconds ago", seconds);
  if (minutes == 1) return "About a minute ago";
  if (minutes < 60) return fmt::format("{} minutes ago", minutes);
  if (hours == 1) return "About an hour ago";
  if (hours < 48) return fmt::format("{} hours ago", hours);
  if (hours < 24 * 7 * 2) return fmt::format("{} days ago", hours / 24);
  if (hours < 24 * 30 * 2) return fmt::format("{} weeks ago", hours / 24 / 7);
  if (hours < 24 * 365 * 2) return fmt::format("{} months ago", hours / 24 / 30);
  return fmt::format("{} years ago", hours / 24 / 365);
}

std::string human_seconds(uint64_t seconds) {
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
  return fmt::format("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
}

}  // namespace carat::chat
