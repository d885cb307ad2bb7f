// The commands of the program: one file each, each adding itself to the app. A command only records what to do; main runs it
// after the whole command line has been read.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace carat::cli {

using Action = std::function<int()>;  // returns the exit code

void add_version(CLI::App& app, Action& action);

}  // namespace carat::cli
