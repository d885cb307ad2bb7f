// The backend on an NVIDIA device: the CPU's bits for every quantised type. Host side of backend/cuda; forward.h computes.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace carat::cuda {

// Whether this build has the backend, this machine a driver, and the driver a device that the build has kernels for: the
// device's name ("NVIDIA H100 80GB HBM3, 132 multiprocessors, sm_90"), or why not.
Result<std::string> describe_device();

// The backend on a given device: the machine's, or the emulator of the tests. options.threads: blocks of the kernels of one
// row (what a device of so few multiprocessors would do); 0: one on each multiprocessor.
class Device;
Result<std::unique_ptr<Backend>> create_backend_on(std::unique_ptr<Device> device, const BackendOptions& options,
                                                   const ModelConfig& config, const Weights& weights);

Result<std::unique_ptr<Backend>> create_cuda_backend(const BackendOptions& options, const ModelConfig& config,
                                                     const Weights& weights);

// How a server shares a device: one that shares a small machine's memory leaves most of it to whatever else runs there.
struct DeviceFacts;
Concurrency concurrency_of(const DeviceFacts& facts);

// Of the machine's device: that; bytes that are free; bytes a second.
Result<Concurrency> device_concurrency();
Result<FreeMemory> device_free_memory();
Result<double> device_bandwidth();

// What the device's memory must hold. It needs no device.
Result<MemoryNeed> cuda_memory_need(const ModelConfig& config, const Weights& weights, int32_t max_rows);

}  // namespace carat::cuda
