#include "cli/model_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <string>

#include "cli/number_flag.h"

namespace carat::cli {

chat::LoadOptions usual_loading() {
  chat::LoadOptions options;
  options.backend.name = "auto";
  return options;
}

void add_model_flags(CLI::App& app, chat::LoadOptions& options) {
  options = usual_loading();
  app.add_option("--backend", options.backend.name,
                 "auto (cuda where there is a device), cuda, cpu (the best of it), cpu/avx2, ..., or reference")
      ->type_name("NAME")
      ->group("Running");
  add_number(app, "-t,--threads", options.backend.threads, 0, 1024, "0: one per core")->group("Running");
  app.add_option_function<std::string>(
         "--precision",
         [&options](const std::string& text) {
           if (text != "exact" && text != "fast") {
             throw CLI::ValidationError("--precision", "'" + text + "', expected exact or fast");
           }
           options.backend.precision = text == "fast" ? Precision::kFast : Precision::kExact;
         },
         "exact; fast is for devices, which round more then")
      ->type_name("exact|fast")
      ->group("Running");
  app.add_flag("--batch-invariant", options.backend.batch_invariant,
               "16- and 32-bit weights give the same bits on a device however many rows are computed together: slower")
      ->envname("VLLM_BATCH_INVARIANT")
      ->group("Running");
  app.add_option_function<std::string>(
         "--head-type",
         [&options](const std::string& text) {
           options.backend.head_type = dtype_from_name(text);
           constexpr std::array kTypes{DType::kQ4_0, DType::kQ5_0, DType::kQ6_K, DType::kQ8_0};
           if (std::find(kTypes.begin(), kTypes.end(), options.backend.head_type) == kTypes.end()) {
             throw CLI::ValidationError("--head-type", "'" + text + "', expected q4_0, q5_0, q6_k or q8_0");
           }
         },
         "The table of all tokens in another type, when it scores them: quicker, and it says by how much less exact")
      ->type_name("q4_0|q5_0|q6_k|q8_0")
      ->group("Running");
  app.add_option("--memory", options.memory, "A hard budget (2G): a smaller cache, then a smaller context, if need be")
      ->type_name("SIZE")
      ->group("Running");
  add_number(app, "--chunk", options.chunk, 1, 8192,
             "Prompt tokens computed in one step; by default what suits the backend")
      ->group("Running");
}

}  // namespace carat::cli
