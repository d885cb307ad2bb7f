// carat show: what a model is, or one part of it.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/human.h"
#include "cli/model_text.h"
#include "cli/report.h"
#include "cli/timestamp.h"
#include "store/store.h"

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
    fmt::print(stderr, "No {} was specified for this model.\n", what);
  } else {
    fmt::print("{}{}", text, text.back() == '\n' ? "" : "\n");
  }
}

void print_json(const ModelFile& file, const ResolvedModel& model) {
  nlohmann::ordered_json json{
      {"name", model.name},
      {"path", model.path.string()},
      {"modelfile", modelfile_text(model)},
      {"parameters", parameters_text(model)},
      {"template", model.prompt_template.value_or("")},
      {"system", model.system},
      {"license", model.license_name},
      {"details",
       {{"format", model.path.filename() == "" || std::filesystem::is_directory(model.path) ? "safetensors" : "gguf"},
        {"family", "gemma3"},
        {"families", {"gemma3"}},
        {"parameter_size", human_count(file.parameters)},
        {"quantization_level", file.quantisation}}},
      {"model_info",
       {{"general.architecture", "gemma3"},
        {"general.parameter_count", file.parameters},
        {"gemma3.context_length", file.config.context_length},
        {"gemma3.embedding_length", file.config.width},
        {"gemma3.feed_forward_length", file.config.ffn_width},
        {"gemma3.block_count", file.config.layers},
        {"gemma3.attention.head_count", file.config.heads},
        {"gemma3.attention.head_count_kv", file.config.kv_heads},
        {"gemma3.attention.key_length", file.config.head_size},
        {"gemma3.attention.sliding_window", file.config.window},
        {"gemma3.vocab_size", file.config.vocabulary}}},
      {"capabilities", {"completion"}},
      {"base_model", !file.has_chat_template},
      {"size", model.size_bytes},
      {"modified_at", rfc3339(model.modified)}};
  if (!model.is_local) json["digest"] = model.digest.hex();
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

Status run(const Options& options) {
  CARAT_TRY(const Store store, Store::open());
  CARAT_TRY(const ResolvedModel model, store.resolve(options.model));
  if (options.path) {
    fmt::print("{}\n", model.path.string());
  } else if (options.license) {
    CARAT_TRY(const std::string text, store.license_text(model.license));
    print_or_say(text, "license");
  } else if (options.modelfile) {
    fmt::print("{}", modelfile_text(model));
  } else if (options.parameters) {
    print_or_say(parameters_text(model), "parameter");
  } else if (options.template_text) {
    print_or_say(model.prompt_template.value_or(""), "template");
  } else if (options.system) {
    print_or_say(model.system, "system message");
  } else {
    CARAT_TRY(const ModelFile file, ModelFile::open(model.path));
    if (options.json) {
      print_json(file, model);
    } else {
      fmt::print("{}", info_text(file, model));
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
  command->add_flag("--verbose", options->verbose, "Accepted for Ollama's sake; --json has the details");
  command->footer(
      "Examples:\n"
      "  carat show gemma3:270m-pt\n"
      "  carat show gemma3:270m-pt --template\n"
      "  cp \"$(carat show gemma3:270m-pt --path)\" gemma.gguf");
  command->callback([options, parts, &action] {
    const auto asked =
        std::count_if(parts.begin(), parts.end(), [](const CLI::Option* part) { return part->count() > 0; });
    if (asked > 1) throw CLI::ValidationError("one part at a time, or --json for everything");
    action = [options] {
      const Status status = run(*options);
      return status.ok() ? 0 : report(status.error());
    };
  });
}

}  // namespace carat::cli
