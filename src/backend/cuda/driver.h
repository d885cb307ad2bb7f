// A device behind NVIDIA's driver, of which nothing is known but its table of functions: the tests bring their own.
#pragma once

#include <memory>
#include <span>

#include "backend/cuda/cubins.h"
#include "backend/cuda/device.h"
#include "backend/cuda/driver_api.h"

namespace carat::cuda {

// The first device that `kernels` has machine code for; no memory. Nothing is opened. Errors: kUnsupported, saying what is
// missing or does not fit: a device, kernels for its architecture, a driver that takes them.
Result<DeviceFacts> describe_driver_device(const DriverApi& api, std::span<const Cubin> kernels);

// That device, ready. `api` and `kernels` must stay. Errors: the same; kIo where it cannot be opened.
Result<std::unique_ptr<Device>> open_driver_device(const DriverApi& api, std::span<const Cubin> kernels,
                                                   double patience_seconds = kPatienceSeconds);

}  // namespace carat::cuda
