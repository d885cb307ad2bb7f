// carat list: the models in the store, newest first.
#include <fmt/format.h>

#include "base/json.h"
#include "chat/timestamp.h"
#include "cli/commands.h"
#include "cli/json_text.h"
#include "cli/model_list.h"
#include "cli/output.h"
#include "cli/remote.h"
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

// What a running server has: where OLLAMA_HOST names another machine, that is another store.
Status run_remotely(const Remote& server, const Options& options) {
  if (options.json) {
    CARAT_TRY(const std::string body, server.get("/api/tags"));
    auto json = json_or_null(body);
    auto kept = nlohmann::ordered_json::array();
    if (json.is_object() && json.contains("models") && json["models"].is_array()) {
      for (auto& model : json["models"]) {
        const auto name = model.is_object() ? model.find("name") : model.end();
        if (name != model.end() && name->is_string() && name->get<std::string>().starts_with(options.filter)) {
          kept.push_back(model);
        }
      }
    }
    say("{}\n", json_text({{"models", std::move(kept)}}, 2));
    return {};
  }
  CARAT_TRY(std::vector<StoredThere> models, server.models());
  std::erase_if(models, [&](const StoredThere& model) { return !model.name.starts_with(options.filter); });
  if (options.quiet) {
    for (const StoredThere& model : models) say("{}\n", model.name);
  } else {
    write(model_table(models));
  }
  return {};
}

Status run(const Options& options) {
  if (const auto server = Remote::find()) return run_remotely(*server, options);
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
      "  carat list --json | jq '.models[].name'\n\n"
      "A carat server that is running (or where OLLAMA_HOST says) is asked for its store.");
  command->callback(
      [options, &action] { action = [options] { return run_and_report([&] { return run(*options); }); }; });
}

}  // namespace carat::cli
