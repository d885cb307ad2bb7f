// Built in place of the backend where there is no compiler for its kernels (CARAT_CUDA off).
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/cuda_vision.h"

namespace carat::cuda {

Result<std::string> describe_device() {
  return Error{
      ErrorCode::kUnsupported,
      "this program was built without CUDA; ./dev build --cuda builds it with (no toolkit is needed for that)"};
}

Result<std::unique_ptr<Backend>> create_cuda_backend(const BackendOptions&, const ModelConfig&, const Weights&) {
  return describe_device().error();
}

Result<std::unique_ptr<VisionEncoder>> create_cuda_vision(const BackendOptions&, std::shared_ptr<const VisionTower>) {
  return describe_device().error();
}

Result<uint64_t> cuda_vision_bytes(const BackendOptions&, const VisionTower&) { return describe_device().error(); }

Result<Concurrency> device_concurrency() { return describe_device().error(); }

Result<FreeMemory> device_free_memory() { return describe_device().error(); }

Result<double> device_bandwidth() { return describe_device().error(); }

Result<MemoryNeed> cuda_memory_need(const ModelConfig&, const Weights&, int32_t) { return describe_device().error(); }

}  // namespace carat::cuda
