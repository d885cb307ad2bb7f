// The backend on this machine's device.
#include <fmt/core.h>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/cuda_vision.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/forward.h"

namespace carat::cuda {

Result<std::unique_ptr<Device>> open_device() {
  CARAT_TRY(const DriverApi* api, driver_api());
  return open_driver_device(*api, cubins());
}

Result<std::string> describe_device() {
  CARAT_TRY(const DriverApi* api, driver_api());
  CARAT_TRY(const DeviceFacts facts, describe_driver_device(*api, cubins()));
  return fmt::format("{}, {} multiprocessors, sm_{}{}", facts.name, facts.multiprocessors, facts.major, facts.minor);
}

namespace {

Result<DeviceFacts> facts_of_device() {
  // It stays open until the process ends: who asks wants to use it, and opening it takes a while.
  static const auto* const device = new Result<std::unique_ptr<Device>>(open_device());
  if (!device->ok()) return device->error();
  return (**device)->facts();
}

}  // namespace

Result<Concurrency> device_concurrency() {
  CARAT_TRY(const DeviceFacts facts, facts_of_device());
  return concurrency_of(facts);
}

Result<FreeMemory> device_free_memory() {
  CARAT_TRY(const DeviceFacts facts, facts_of_device());
  return FreeMemory{facts.name, facts.free_bytes};
}

Result<double> device_bandwidth() {
  CARAT_TRY(const auto device, open_device());
  return read_bandwidth(*device);
}

Result<std::unique_ptr<Backend>> create_cuda_backend(const BackendOptions& options, const ModelConfig& config,
                                                     const Weights& weights) {
  CARAT_TRY(std::unique_ptr<Device> device, open_device());
  return create_backend_on(std::move(device), options, config, weights);
}

Result<std::unique_ptr<VisionEncoder>> create_cuda_vision(const BackendOptions& options,
                                                          std::shared_ptr<const VisionTower> tower) {
  CARAT_TRY(std::unique_ptr<Device> device, open_device());
  return create_vision_on(std::move(device), options, std::move(tower));
}

Result<uint64_t> cuda_vision_bytes(const BackendOptions& options, const VisionTower& tower) {
  return vision_bytes(options, tower);
}

Result<MemoryNeed> cuda_memory_need(const ModelConfig& config, const Weights& weights, int32_t max_rows) {
  return Forward::memory_need(config, weights, max_rows);
}

}  // namespace carat::cuda
