// Ctrl-C, politely: while one of these lives, SIGINT, SIGTERM and SIGHUP set a flag instead of ending the program, so
// that what is half done can be left in order.
#pragma once

#include <signal.h>

#include <array>

namespace carat::cli {

class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static bool interrupted();

 private:
  std::array<struct sigaction, 3> before_{};
};

}  // namespace carat::cli
