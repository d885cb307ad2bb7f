// carat version: what `carat --version` prints too.
#include <fmt/core.h>

#include "cli/commands.h"
#include "cli/output.h"

namespace carat::cli {

void add_version(CLI::App& app, Action& action) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("version", "Print the version");
  command->add_flag("--json", *json, "As JSON, in the shape of Ollama's /api/version");
  command->footer(
      "Example:\n"
      "  carat version --json");
  command->callback([json, &action] {
    action = [json] {
      if (*json) {
        say("{{\"version\":\"{}\"}}\n", CARAT_VERSION);
      } else {
        say("carat version {}\n", CARAT_VERSION);
      }
      return 0;
    };
  });
}

}  // namespace carat::cli
