// The hyper-parameters of a model of random weights (formats/synth.h), for those that make one without a file.
#pragma once

#include "formats/synth.h"
#include "model/config.h"

namespace carat {

ModelConfig config_of(const SynthShape& shape);

}  // namespace carat
