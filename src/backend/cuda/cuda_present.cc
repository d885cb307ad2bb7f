// The backend on this machine's device.
#include <fmt/core.h>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/cuda_vision.h"
#include "backend/cuda/device.h"
#include "backend/cuda/forward.h"

namespace carat::cuda {

Result<std::string> describe_device() {
  CARAT_TRY(const auto device, open_device());
  const DeviceFacts facts = device->facts();
  return fmt::format("{}, {} multiprocessors, sm_{}{}", facts.name, facts.multiprocessors, facts.major, facts.minor);
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
