// The table of exit codes that result.h promises.
#include "cli/report.h"

#include <cstdio>

#include "base/printable.h"
#include "cli/output.h"

namespace carat::cli {

int report(const Error& error) {
  note("Error: {}\n", one_line(error.message));
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
      return 2;
    case ErrorCode::kCancelled:
      return 130;
    default:
      return 1;
  }
}

int report_plainly(const char* message) {
  std::fflush(stdout);
  std::fputs("Error: ", stderr);
  std::fputs(message, stderr);
  std::fputs("\n", stderr);
  return 1;
}

}  // namespace carat::cli
