// The sampler's own check comes last, on what the three sources make together.
#include "cli/model_generation.h"

namespace carat::cli {

Result<GenerationOptions> generation_of(const OpenModel& model, const GenerationFlags& flags) {
  GenerationOptions options = default_generation(model.file.sampling);
  options.stops = model.resolved.stops;
  for (const auto& [name, value] : model.resolved.parameters) {
    CARAT_CHECK(set_generation_option(options, name, std::span(&value, 1)));
  }
  CARAT_CHECK(flags.apply(options));
  CARAT_CHECK(validate(options.sampling, model.file.config.vocabulary));
  return options;
}

}  // namespace carat::cli
