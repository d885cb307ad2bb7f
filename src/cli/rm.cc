// carat rm: removes names, and with the last name of a blob the blob; --unused sweeps what no name uses.
#include <fmt/core.h>

#include "base/printable.h"
#include "chat/human.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/report.h"
#include "store/store.h"

namespace carat::cli {
namespace {

struct Options {
  std::vector<std::string> models;
  bool unused = false;
};

void explain(const RemovalReport& removal) {
  for (const Error& problem : removal.problems) note("warning: {}\n", problem.message);
  if (!removal.problems.empty()) {
    note("warning: while a manifest cannot be read, no blob is deleted that it might name\n");
  }
  if (removal.in_use_bytes > 0) {
    note("{} in use by another carat; `carat rm --unused` frees them when it has ended\n",
         chat::human_bytes(removal.in_use_bytes));
  }
}

Status remove(const Store& store, const std::string& text) {
  CARAT_TRY(const ModelName name, ModelName::parse(text));
  auto removal = store.remove(name);
  if (!removal.ok()) {
    if (removal.error().code != ErrorCode::kNotFound) return removal.error();
    if (const auto theirs = store.resolve(text); theirs.ok()) {
      return Error{ErrorCode::kUnsupported,
                   "model '" + escaped(text) +
                       "' belongs to another program, and Carat only reads it: " + theirs->path.string()};
    }
    return Error{ErrorCode::kNotFound, "model '" + escaped(text) + "' not found"};
  }
  say("deleted '{}'\n", text);
  flush();
  explain(*removal);
  return {};
}

int run(const Options& options) {
  const auto store = Store::open();
  if (!store.ok()) return report(store.error());
  int code = 0;
  for (const std::string& name : options.models) {
    if (const Status status = remove(*store, name); !status.ok()) code = report(status.error());
  }
  if (!options.unused) return code;
  const auto swept = store->sweep_unused();
  if (!swept.ok()) return report(swept.error());
  say("freed {}\n", chat::human_bytes(swept->freed_bytes));
  flush();
  explain(*swept);
  return code;
}

}  // namespace

void add_rm(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("rm", "Remove models");
  CLI::Option* models = keeping_marks(command->add_option_function<std::vector<std::string>>(
      "MODEL", [options](const std::vector<std::string>& names) { options->models = unshielded(names); },
      "One name or several"));
  CLI::Option* unused =
      command->add_flag("--unused", options->unused, "Sweep what no model uses: leftovers of killed pulls, lone blobs");
  command->footer(
      "Examples:\n"
      "  carat rm gemma3:270m-pt\n"
      "  carat rm --unused\n\n"
      "A blob that another name uses stays. A model that is running keeps running.");
  command->callback([options, models, unused, &action] {
    if (models->count() + unused->count() == 0) throw CLI::RequiredError("MODEL or --unused");
    action = [options] {
      int code = 0;
      const int failed = run_and_report([&]() -> Status {
        code = run(*options);
        return {};
      });
      return failed == 0 ? code : failed;
    };
  });
}

}  // namespace carat::cli
