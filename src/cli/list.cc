// carat list: the models in the store, newest first.
#include <fmt/format.h>

#include "base/json.h"
#include "chat/timestamp.h"
#include "cli/commands.h"
#include "cli/json_text.h"
#include "cli/model_list.h"
#include "cli/output.h"
#include "cli/report.h"
#include "store/store.h"

namespace carat::cli {
namespace {

struct Options {
  bool json = false;
  bool quiet = false;
  std::string filter;
};

void print_json(const std::vector<StoredModel>& models) {
  auto list = nlohmann::ordered_json::array();
  for (const StoredModel& model : models) {
    const std::string name = model.name.text();
    list.push_back({{"name", name},
                    {"model", name},
                    {"modified_at", chat::rfc3339(model.modified)},
                    {"size", model.manifest.size_bytes()},
                    {"digest", model.digest.hex()},
                    {"details",
                     {{"format", model.manifest.kind == ModelKind::kGguf ? "gguf" : "safetensors"},
                      {"family", "gemma3"},
                      {"base_model", model.manifest.is_base_model},
                      {"source", model.manifest.source}}}});
  }
  say("{}\n", json_text({{"models", std::move(list)}}, 2));
}

Status run(const Options& options) {
  CARAT_TRY(const Store store, Store::open());
  CARAT_TRY(StoreListing listing, store.list());
  for (const Error& problem : listing.problems) note("warning: {}\n", problem.message);
  auto& models = listing.models;
  models.erase(std::remove_if(models.begin(), models.end(),
                              [&](const StoredModel& m) { return m.name.text().rfind(options.filter, 0) != 0; }),
               models.end());
  if (options.json) {
    print_json(models);
  } else if (options.quiet) {
    for (const StoredModel& model : models) say("{}\n", model.name.text());
  } else {
    write(model_table(models));
  }
  return {};
}

}  // namespace

void add_list(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("list", "List models")->alias("ls");
  command->add_option("PREFIX", options->filter, "Only names that begin with this");
  command->add_flag("--json", options->json, "As JSON, in the shape of Ollama's /api/tags");
  command->add_flag("-q,--quiet", options->quiet, "Names only, one a line");
  command->footer(
      "Examples:\n"
      "  carat list\n"
      "  carat list gemma3\n"
      "  carat list --json | jq '.models[].name'");
  command->callback(
      [options, &action] { action = [options] { return run_and_report([&] { return run(*options); }); }; });
}

}  // namespace carat::cli
