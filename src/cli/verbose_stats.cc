#include "cli/verbose_stats.h"

#include <fmt/format.h>

#include <cmath>

namespace carat::cli {
namespace {

// value / unit with all its decimals but trailing zeros: (1500000, 1000000) gives "1.5".
std::string decimal(uint64_t value, uint64_t unit) {
  std::string text = fmt::format("{}", value / unit);
  if (value % unit == 0) return text;
  std::string fraction = fmt::format("{}", unit + value % unit).substr(1);
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return text + '.' + fraction;
}

int64_t nanoseconds(double seconds) { return std::llround(seconds * 1e9); }

}  // namespace

std::string go_duration(int64_t nanoseconds) {
  constexpr uint64_t kMicro = 1000, kMilli = 1000 * kMicro, kSecond = 1000 * kMilli, kMinute = 60 * kSecond;
  if (nanoseconds == 0) return "0s";
  const std::string sign = nanoseconds < 0 ? "-" : "";
  const uint64_t n = nanoseconds < 0 ? -static_cast<uint64_t>(nanoseconds) : static_cast<uint64_t>(nanoseconds);
  if (n < kMicro) return fmt::format("{}{}ns", sign, n);
  if (n < kMilli) return sign + decimal(n, kMicro) + "µs";
  if (n < kSecond) return sign + decimal(n, kMilli) + "ms";
  const std::string seconds = decimal(n % kMinute, kSecond) + "s";
  const uint64_t minutes = n / kMinute;
  if (minutes == 0) return sign + seconds;
  if (minutes < 60) return fmt::format("{}{}m{}", sign, minutes, seconds);
  return fmt::format("{}{}h{}m{}", sign, minutes / 60, minutes % 60, seconds);
}

std::string format_verbose(const VerboseStats& stats) {
  std::string text;
  const auto duration = [&](const char* label, double seconds) {
    if (seconds > 0) text += fmt::format("{:<22}{}\n", label, go_duration(nanoseconds(seconds)));
  };
  const auto phase = [&](const std::string& name, int32_t count, double seconds) {
    if (count > 0) text += fmt::format("{:<22}{} token(s)\n", name + " count:", count);
    if (seconds <= 0) return;
    duration((name + " duration:").c_str(), seconds);
    text += fmt::format("{:<22}{:.2f} tokens/s\n", name + " rate:", count / seconds);
  };
  duration("total duration:", stats.total_seconds);
  duration("load duration:", stats.load_seconds);
  phase("prompt eval", stats.usage.prompt_tokens - stats.usage.reused_tokens, stats.usage.prompt_seconds);
  phase("eval", stats.usage.generated_tokens, stats.usage.generate_seconds);
  return text;
}

}  // namespace carat::cli
