// A device of the host's memory whose kernels run as fibers (emulator.h). What was not written is NaN.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/cuda/device.h"

namespace carat::test {

// `major`: of its compute capability; kernels that Hopper alone has run on 9.
std::unique_ptr<cuda::Device> emulated_device(int major = 9, int multiprocessors = 3);

// The kernels by themselves: null where there is none of that name.
cuda::Device::Kernel emulated_kernel(std::string_view name);
std::vector<std::string> emulated_kernel_names();
void launch_emulated(cuda::Device::Kernel kernel, std::array<uint32_t, 3> grid, uint32_t threads, size_t shared_bytes,
                     const void* params, bool together);

}  // namespace carat::test
