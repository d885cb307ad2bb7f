// How a command ends: an Error becomes one line on standard error and an exit code that scripts can use.
#pragma once

#include "base/result.h"

namespace carat::cli {

// Prints "Error: <message>". Returns 2 for a wrong argument, 130 when the user stopped it, else 1.
int report(const Error& error);

}  // namespace carat::cli
