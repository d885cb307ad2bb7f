// A number as Python writes it.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string>

namespace carat::server {

template <class T>
std::string python_float(T number) {
  return number == std::floor(number) && std::abs(number) < T(1e16) ? fmt::format("{:.1f}", number)
                                                                    : fmt::format("{}", number);
}

}  // namespace carat::server
