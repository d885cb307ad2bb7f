// A device of the host's memory whose kernels run as fibers (emulator.h). What was not written is NaN.
#pragma once

#include <memory>

#include "backend/cuda/device.h"

namespace carat::test {

// `major`: of its compute capability; kernels that Hopper alone has run on 9.
std::unique_ptr<cuda::Device> emulated_device(int major = 9, int multiprocessors = 3);

}  // namespace carat::test
