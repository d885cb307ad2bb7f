// What shapes a model's answers before anybody sets anything at a prompt: defaults, then the model's own, then flags.
#pragma once

#include "base/result.h"
#include "cli/generation_options.h"
#include "cli/open_model.h"

namespace carat::cli {

// Errors: kInvalidArgument, naming the parameter that is unknown or out of range.
Result<GenerationOptions> generation_of(const OpenModel& model, const GenerationFlags& flags);

}  // namespace carat::cli
