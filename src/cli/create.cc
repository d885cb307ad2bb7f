// carat create: a model out of another, or out of files, as a Modelfile says.
#include "store/create.h"

#include <fmt/core.h>

#include "base/atomic_file.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/report.h"

namespace carat::cli {
namespace {

constexpr size_t kMaxModelfileBytes = 16 << 20;

struct Options {
  std::string model;
  std::string file = "Modelfile";
  std::string quantize;
  bool insecure = false;
  bool json = false;
};

Status run(const Options& options) {
  CARAT_TRY(const ModelName name, ModelName::parse(options.model));
  const std::filesystem::path path = std::filesystem::absolute(options.file);
  std::error_code ignored;
  auto text = read_small_file(std::filesystem::weakly_canonical(path, ignored), kMaxModelfileBytes);
  if (!text.ok() && text.error().code == ErrorCode::kNotFound) {
    return Error{ErrorCode::kNotFound, "no Modelfile at " + path.string() + "; -f names another"};
  }
  if (!text.ok()) return text.error();
  CreateRequest request;
  CARAT_TRY(request.modelfile, parse_modelfile(*text));
  request.folder = path.parent_path();
  request.quantize = options.quantize;
  PullOptions how;
  how.http.plain_http = options.insecure;
  CARAT_TRY(const Store store, Store::open());
  if (options.json) {
    JsonProgress progress;
    return create_model(store, name, request, progress, how);
  }
  Progress progress;
  return create_model(store, name, request, progress, how);
}

}  // namespace

void add_create(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("create", "Create a model");
  command->add_option("MODEL", options->model, "The new model's name")->required();
  command->add_option("-f,--file", options->file, "The Modelfile")->capture_default_str();
  command->add_option("-q,--quantize", options->quantize,
                      "Of F16, BF16 or F32 weights in a GGUF: q4_K_M, q8_0, q4_0, ...");
  command->add_flag("--insecure", options->insecure, "Pull what FROM names without TLS");
  command->add_flag("--json", options->json, "Progress on standard output, a JSON object a line");
  command->footer(
      "Example:\n"
      "  printf 'FROM gemma3:1b\\nSYSTEM Answer in rhymes.\\nPARAMETER temperature 1.2\\n' > Modelfile\n"
      "  carat create poet && carat run poet\n\n"
      "A Modelfile holds FROM (a name, a GGUF file, a Hugging Face folder), PARAMETER, TEMPLATE, SYSTEM, MESSAGE and\n"
      "LICENSE, as Ollama's does. ADAPTER is refused: Carat applies no LoRA adapters.");
  command->callback(
      [options, &action] { action = [options] { return run_and_report([&] { return run(*options); }); }; });
}

}  // namespace carat::cli
