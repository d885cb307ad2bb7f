// carat ps: the models that a server keeps loaded. No server exists yet, so the table is empty, and says why.
#include <fmt/core.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/table.h"

namespace carat::cli {

void add_ps(CLI::App& app, Action& action) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("ps", "List running models");
  command->add_flag("--json", *json, "As JSON, in the shape of Ollama's /api/ps");
  command->footer(
      "Example:\n"
      "  carat ps\n\n"
      "Only a server keeps models loaded; `carat run` loads its own and frees it when it ends.");
  command->callback([json, &action] {
    action = [json] {
      if (*json) {
        say("{{\n  \"models\": []\n}}\n");
        return 0;
      }
      write(format_table({"NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"}, {}));
      note("no carat server is running\n");
      return 0;
    };
  });
}

}  // namespace carat::cli
