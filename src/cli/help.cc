// carat help [COMMAND]: what `carat COMMAND --help` prints.
#include <fmt/core.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/report.h"

namespace carat::cli {

void add_help(CLI::App& app, Action& action) {
  auto name = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("help", "Help about any command");
  command->add_option("COMMAND", *name, "The command");
  command->footer(
      "Example:\n"
      "  carat help run");
  command->callback([name, &app, &action] {
    action = [name, &app] {
      if (name->empty()) {
        write(app.get_formatter()->make_help(&app, app.get_name(), CLI::AppFormatMode::Normal));
        return 0;
      }
      const auto found = app.get_subcommands([&name](const CLI::App* sub) { return sub->check_name(*name); });
      if (found.empty()) {
        return report({ErrorCode::kInvalidArgument, "unknown command '" + *name + "'; `carat help` lists them"});
      }
      write(found.front()->help("carat"));
      return 0;
    };
  });
}

}  // namespace carat::cli
