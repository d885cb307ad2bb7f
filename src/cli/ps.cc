// carat ps: the models that a running server keeps loaded.
#include <fmt/core.h>

#include "chat/human.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/remote.h"
#include "cli/report.h"
#include "cli/table.h"

namespace carat::cli {
namespace {

Status run(bool json) {
  const auto server = Remote::find();
  if (!server && !json) note("no carat server is running\n");
  if (json) {
    std::string body = "{\"models\":[]}";
    if (server) {
      CARAT_TRY(body, server->get("/api/ps"));
    }
    say("{}\n", body);
    return {};
  }
  std::vector<Row> rows;
  if (server) {
    CARAT_TRY(const std::vector<RunningModel> models, server->running());
    for (const RunningModel& model : models) {
      rows.push_back({model.name, model.digest.substr(0, 12), chat::human_bytes(model.size_bytes), model.processor,
                      std::to_string(model.context), model.until});
    }
  }
  write(format_table({"NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"}, rows));
  return {};
}

}  // namespace

void add_ps(CLI::App& app, Action& action) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("ps", "List running models");
  command->add_flag("--json", *json, "As JSON, in the shape of Ollama's /api/ps");
  command->footer(
      "Example:\n"
      "  carat ps\n\n"
      "Only a server keeps models loaded: `carat serve` on 127.0.0.1:11434, or where OLLAMA_HOST says.\n"
      "`carat run` loads its own and frees it when it ends.");
  command->callback([json, &action] { action = [json] { return run_and_report([&] { return run(*json); }); }; });
}

}  // namespace carat::cli
