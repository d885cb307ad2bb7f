#include "server/keep_alive.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "server/json_text.h"

namespace carat::server {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 8> kUnits{
    {{"ns", 1e-9}, {"us", 1e-6}, {"\xC2\xB5s", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}}};

Error invalid(const char* what, std::string_view text) {
  std::string quoted;
  append_json_string(quoted, text);
  return {ErrorCode::kInvalidArgument, fmt::format("time: {} {}", what, quoted)};
}

}  // namespace

KeepAlive keep_alive_of_seconds(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return kForever;
  return KeepAlive(static_cast<int64_t>(seconds * 1000));
}

Result<KeepAlive> parse_duration(std::string_view text) {
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest == "0") return KeepAlive(0);
  if (rest.empty()) return invalid("invalid duration", text);
  double seconds = 0;
  while (!rest.empty()) {
    double number = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number, std::chars_format::fixed);
    if (error != std::errc() || rest.starts_with('-')) return invalid("invalid duration", text);
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    if (rest.empty()) return invalid("missing unit in duration", text);
    const std::string_view unit = rest.substr(0, rest.find_first_of("0123456789."));
    const auto* const found =
        std::find_if(kUnits.begin(), kUnits.end(), [&](const auto& u) { return u.first == unit; });
    if (found == kUnits.end()) return invalid("unknown unit in duration", text);
    seconds += number * found->second;
    rest.remove_prefix(unit.size());
  }
  return keep_alive_of_seconds(negative ? -1 : seconds);
}

}  // namespace carat::server
