#include "cli/model_flags.h"

#include <CLI/CLI.hpp>
#include <map>
#include <string>

namespace carat::cli {

void add_model_flags(CLI::App& app, chat::LoadOptions& options) {
  const std::map<std::string, Precision> precisions{{"exact", Precision::kExact}, {"fast", Precision::kFast}};
  app.add_option("--backend", options.backend.name, "cpu (the best of it), cpu/avx2, ..., or reference")
      ->type_name("NAME")
      ->group("Running");
  app.add_option("-t,--threads", options.backend.threads, "0: one per core")->type_name("N")->group("Running");
  app.add_option("--precision", options.backend.precision, "exact, or fast: activations in 8 bits")
      ->transform(CLI::CheckedTransformer(precisions, CLI::ignore_case))
      ->type_name("exact|fast")
      ->group("Running");
  app.add_option("--memory", options.memory, "A hard budget (2G): a smaller cache, then a smaller context, if need be")
      ->type_name("SIZE")
      ->group("Running");
  app.add_option("--chunk", options.chunk, "Prompt tokens computed in one step")->type_name("N")->group("Running");
}

}  // namespace carat::cli
