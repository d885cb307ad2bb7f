// carat cp: another name for the same blobs; nothing is copied but a small manifest.
#include <fmt/core.h>

#include "base/printable.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "store/create.h"
#include "store/store.h"

namespace carat::cli {
namespace {

struct Options {
  std::string source;
  std::string destination;
};

Status run(const Options& options) {
  CARAT_TRY(const Store store, Store::open());
  CARAT_TRY(const ModelName from, ModelName::parse(options.source));
  CARAT_TRY(const ModelName to, ModelName::parse(options.destination));
  Progress progress;
  const Status copied = copy_model(store, from, to, progress);
  if (!copied.ok() && copied.error().code == ErrorCode::kNotFound) {
    return Error{ErrorCode::kNotFound, "model \"" + escaped(options.source) + "\" not found"};
  }
  CARAT_CHECK(copied);
  say("copied '{}' to '{}'\n", options.source, options.destination);
  return {};
}

}  // namespace

void add_cp(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("cp", "Copy a model");
  command->add_option("SOURCE", options->source, "The model")->required();
  command->add_option("DESTINATION", options->destination, "Its other name")->required();
  command->footer(
      "Example:\n"
      "  carat cp gemma3:270m-pt mine:base\n\n"
      "Both names share their files: a copy takes no space. What lies in Ollama's folder or the Hugging Face cache "
      "is\n"
      "copied into Carat's own.");
  command->callback(
      [options, &action] { action = [options] { return run_and_report([&] { return run(*options); }); }; });
}

}  // namespace carat::cli
