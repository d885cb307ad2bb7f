// carat version: what `carat --version` prints too.
#include <fmt/core.h>

#include "cli/commands.h"

namespace carat::cli {

void add_version(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("version", "Print the version");
  command->callback([&action] {
    action = [] {
      fmt::print("carat version {}\n", CARAT_VERSION);
      return 0;
    };
  });
}

}  // namespace carat::cli
