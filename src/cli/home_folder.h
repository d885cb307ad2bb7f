// What ~ stands for at the beginning of a path that somebody types.
#pragma once

#include <cstdlib>
#include <string>

namespace carat::cli {

inline std::string home_folder() {
  const char* home = std::getenv("HOME");
  return home == nullptr ? "" : home;
}

}  // namespace carat::cli
