// The table of exit codes that result.h promises.
#include "cli/report.h"

#include <fmt/core.h>

#include <cstdio>

namespace carat::cli {

int report(const Error& error) {
  std::fflush(stdout);
  fmt::print(stderr, "Error: {}\n", error.message);
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
      return 2;
    case ErrorCode::kCancelled:
      return 130;
    default:
      return 1;
  }
}

}  // namespace carat::cli
