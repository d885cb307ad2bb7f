// A device of the host's memory whose kernels run as fibers (emulator.h). What was not written is NaN.
#pragma once

#include <memory>

#include "backend/cuda/device.h"

namespace carat::test {

std::unique_ptr<cuda::Device> emulated_device();

}  // namespace carat::test
