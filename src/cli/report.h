// How a command ends: an Error becomes one line on standard error and an exit code that scripts can use.
#pragma once

#include "base/memory.h"
#include "base/result.h"

namespace carat::cli {

// Prints "Error: <message>", on one line whatever it quotes. Returns 2 for a wrong argument, 130 when the user stopped
// it, else 1.
int report(const Error& error);

// What a command does, and how it ends: `work` returns a Status. Memory that cannot be had is an error like any other.
template <class Work>
int run_and_report(const Work& work) {
  const Status status = with_memory(work);
  return status.ok() ? 0 : report(status.error());
}

// The same as report where there may be no memory for anything.
int report_plainly(const char* message);

}  // namespace carat::cli
