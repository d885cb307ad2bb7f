// carat stop: unloads a model from a running server.
#include <fmt/core.h>

#include "base/printable.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/remote.h"
#include "cli/report.h"
#include "store/store.h"

namespace carat::cli {
namespace {

Status run(const std::string& text) {
  if (const auto server = Remote::find()) {
    Status status = server->stop(text);
    if (!status.ok() && status.error().code == ErrorCode::kNotFound) {
      return Error{ErrorCode::kNotFound, "couldn't find model \"" + escaped(text) + "\" to stop"};
    }
    return status;
  }
  CARAT_TRY(const Store store, Store::open());
  CARAT_TRY(const ModelName name, ModelName::parse(text));
  const auto stored = store.find(name);
  if (!stored.ok() && stored.error().code == ErrorCode::kNotFound) {
    return Error{ErrorCode::kNotFound, "couldn't find model \"" + escaped(text) + "\" to stop"};
  }
  note("no carat server is running, so '{}' is not loaded\n", text);
  return {};
}

}  // namespace

void add_stop(CLI::App& app, Action& action) {
  auto model = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("stop", "Stop a running model");
  command->add_option("MODEL", *model, "Its name")->required();
  command->footer(
      "Example:\n"
      "  carat stop gemma3:270m-pt");
  command->callback([model, &action] { action = [model] { return run_and_report([&] { return run(*model); }); }; });
}

}  // namespace carat::cli
