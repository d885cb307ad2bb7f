// UTC, with nanoseconds, as Go's RFC3339Nano writes it but for its dropped zeros.
#include "chat/timestamp.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace carat::chat {

std::string rfc3339(std::chrono::system_clock::time_point time) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(time - whole).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:09}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(whole)), rest);
}

}  // namespace carat::chat
