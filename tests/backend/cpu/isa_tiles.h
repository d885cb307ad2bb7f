// Kernels whose products are made of emulated tiles.
#pragma once

#include "backend/cpu/kernels.h"

namespace carat::test {

const cpu::Kernels& emulated_tiles_kernels();

}  // namespace carat::test
