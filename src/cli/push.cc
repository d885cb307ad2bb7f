// carat push: a model to a registry that takes it.
#include "store/pull/push.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/report.h"

namespace carat::cli {
namespace {

struct Options {
  std::string model;
  bool insecure = false;
  bool json = false;
};

Status run(const Options& options) {
  CARAT_TRY(const Store store, Store::open());
  CARAT_TRY(const ModelName name, ModelName::parse(options.model));
  PullOptions how;
  how.http.plain_http = options.insecure || asks_for_plain_http(options.model);
  if (options.json) {
    JsonProgress progress("pushing");
    return push(store, name, progress, how);
  }
  Progress progress("pushing");
  return push(store, name, progress, how);
}

}  // namespace

void add_push(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("push", "Push a model to a registry");
  command->add_option("MODEL", options->model, "A model of the store, by the name that it shall have there")
      ->required();
  command->add_flag("--insecure", options->insecure, "Ask the registry without TLS");
  command->add_flag("--json", options->json, "Progress on standard output, a JSON object a line");
  command->footer(
      "Example:\n"
      "  carat cp gemma3:1b registry.example:5000/me/gemma3:1b\n"
      "  carat push registry.example:5000/me/gemma3:1b\n\n"
      "A registry that wants a login is told what `docker login` or `podman login` left for it (in the file that\n"
      "REGISTRY_AUTH_FILE or DOCKER_CONFIG names, else ~/.docker/config.json); ollama.com, for names without a\n"
      "host, gets a signature with Ollama's own key, ~/.ollama/id_ed25519, which `ollama signin` makes known.");
  command->callback(
      [options, &action] { action = [options] { return run_and_report([&] { return run(*options); }); }; });
}

}  // namespace carat::cli
