// Flags that hold a number: every one has a range, which its help names and which is checked before anything else.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace carat::cli {

inline constexpr int32_t kMostTokens = 1 << 20;  // more than any context holds

// Of CLI::Range, without what it adds to the help: "--chunk: it is 0, expected 1 to 8192".
template <class T>
CLI::Validator in_range(T low, T high) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        T value{};
        if (CLI::detail::lexical_cast(text, value) && value >= low && value <= high) return {};
        return fmt::format("it is {}, expected {} to {}", text, low, high);
      },
      "");
}

template <class T>
CLI::Option* add_number(CLI::App& app, const std::string& names, T& value, T low, T high, const std::string& help) {
  return app.add_option(names, value, fmt::format("{} ({} to {})", help, low, high))
      ->check(in_range(low, high))
      ->type_name("N");
}

// Several, with commas between them.
template <class T>
CLI::Option* add_numbers(CLI::App& app, const std::string& names, std::vector<T>& values, T low, T high,
                         const std::string& help) {
  return app.add_option(names, values, fmt::format("{} ({} to {})", help, low, high))
      ->delimiter(',')
      ->check(in_range(low, high))
      ->type_name("N,...");
}

}  // namespace carat::cli
