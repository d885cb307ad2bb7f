// carat show: what a model is, or one part of it.
#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "chat/model_facts.h"
#include "chat/timestamp.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/info_text.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/show_details.h"

namespace carat::cli {
namespace {

struct Options {
  std::string model;
  bool license = false;
  bool modelfile = false;
  bool parameters = false;
  bool template_text = false;
  bool system = false;
  bool path = false;
  bool json = false;
  bool verbose = false;
};

// Printed as it is; nothing to print is said on standard error, so that a pipe stays empty.
void print_or_say(const std::string& text, const char* what) {
  if (text.empty()) {
    note("No {} was specified for this model.\n", what);
  } else {
    say("{}{}", text, text.back() == '\n' ? "" : "\n");
  }
}

void print_json(const chat::ModelFacts& facts) {
  const ModelConfig& config = facts.config;
  nlohmann::ordered_json json{{"name", facts.name},
                              {"path", facts.path.string()},
                              {"modelfile", chat::modelfile_text(facts)},
                              {"parameters", chat::parameters_text(facts)},
                              {"template", facts.prompt_template},
                              {"system", facts.system},
                              {"license", facts.license_name},
                              {"details",
                               {{"format", facts.format},
                                {"family", facts.family},
                                {"families", facts.families},
                                {"parameter_size", facts.parameter_size},
                                {"quantization_level", facts.quantization_level}}},
                              {"model_info",
                               {{"general.architecture", facts.family},
                                {"general.parameter_count", facts.parameter_count},
                                {"gemma3.context_length", config.context_length},
                                {"gemma3.embedding_length", config.width},
                                {"gemma3.feed_forward_length", config.ffn_width},
                                {"gemma3.block_count", config.layers},
                                {"gemma3.attention.head_count", config.heads},
                                {"gemma3.attention.head_count_kv", config.kv_heads},
                                {"gemma3.attention.key_length", config.head_size},
                                {"gemma3.attention.sliding_window", config.window},
                                {"gemma3.vocab_size", config.vocabulary}}},
                              {"capabilities", facts.capabilities},
                              {"base_model", facts.is_base},
                              {"chat_template", facts.turns},
                              {"notes", facts.notes},
                              {"size", facts.size_bytes},
                              {"modified_at", chat::rfc3339(facts.modified)}};
  if (!facts.digest.empty()) json["digest"] = facts.digest;
  say("{}\n", json_text(json, 2));
}

Status print_license(const ResolvedModel& model) {
  std::string text;
  if (model.license) {
    CARAT_TRY(const Store store, Store::open());
    CARAT_TRY(text, store.license_text(model.license));
  }
  print_or_say(text, "license");
  return {};
}

Status run(const Options& options) {
  CARAT_TRY(ResolvedModel resolved, resolve_here(options.model));
  const chat::ModelFacts facts = chat::facts_of(resolved);
  if (options.path) {
    say("{}\n", facts.path.string());
  } else if (options.license) {
    return print_license(resolved);
  } else if (options.modelfile) {
    write(chat::modelfile_text(facts));
  } else if (options.parameters) {
    print_or_say(chat::parameters_text(facts), "parameter");
  } else if (options.template_text) {
    print_or_say(facts.prompt_template, "template");
  } else if (options.system) {
    print_or_say(facts.system, "system message");
  } else {
    CARAT_TRY(ModelFile file, ModelFile::open(resolved.path));
    const chat::OpenModel opened{std::move(resolved), std::move(file)};
    const chat::ModelFacts all = chat::facts_of(opened);
    if (options.json) {
      print_json(all);
    } else {
      write(info_text(all));
      if (options.verbose) {
        CARAT_TRY(const std::string details, details_text(opened.resolved.path, opened.file));
        write(details);
      }
    }
  }
  return {};
}

}  // namespace

void add_show(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("show", "Show information for a model");
  command->add_option("MODEL", options->model, "A name, a GGUF file or a Hugging Face folder")->required();
  const std::vector<CLI::Option*> parts = {
      command->add_flag("--license", options->license, "Only its license"),
      command->add_flag("--modelfile", options->modelfile, "Only a Modelfile that would build it again"),
      command->add_flag("--parameters", options->parameters, "Only its parameters"),
      command->add_flag("--template", options->template_text, "Only its prompt template"),
      command->add_flag("--system", options->system, "Only its system message"),
      command->add_flag("--path", options->path, "Only where its weights lie: a file, or a folder"),
      command->add_flag("--json", options->json, "Everything, as JSON")};
  command->add_flag("-v,--verbose", options->verbose, "Also the file's metadata, and every tensor");
  command->footer(
      "Examples:\n"
      "  carat show gemma3:270m-pt\n"
      "  carat show gemma3:270m-pt --template\n"
      "  cp \"$(carat show gemma3:270m-pt --path)\" gemma.gguf");
  command->callback([options, parts, &action] {
    const auto asked =
        std::count_if(parts.begin(), parts.end(), [](const CLI::Option* part) { return part->count() > 0; });
    if (asked > 1) throw CLI::ValidationError("one part at a time, or --json for everything");
    action = [options] { return run_and_report([&] { return run(*options); }); };
  });
}

}  // namespace carat::cli
