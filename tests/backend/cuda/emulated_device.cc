// The kernels themselves, compiled as C++: every .cu of backend/cuda in one file.
#include "backend/cuda/emulated_device.h"

#include <cstring>
#include <map>
#include <string>

#include "backend/cuda/emulator.h"
//
#include "backend/cuda/attend_fast.cu"
#include "backend/cuda/attend_few.cu"
#include "backend/cuda/attend_one.cu"
#include "backend/cuda/attend_tiles.cu"
#include "backend/cuda/attend_wide.cu"
#include "backend/cuda/attention.cu"
#include "backend/cuda/bandwidth.cu"
#include "backend/cuda/close_few.cu"
#include "backend/cuda/core_short.cu"
#include "backend/cuda/core_split.cu"
#include "backend/cuda/decode.cu"
#include "backend/cuda/decode_one.cu"
#include "backend/cuda/dense.cu"
#include "backend/cuda/draw.cu"
#include "backend/cuda/exact_gemm.cu"
#include "backend/cuda/few.cu"
#include "backend/cuda/few_gate.cu"
#include "backend/cuda/few_narrow.cu"
#include "backend/cuda/few_turns.cu"
#include "backend/cuda/gemm.cu"
#include "backend/cuda/gemm_floats.cu"
#include "backend/cuda/half_gemm.cu"
#include "backend/cuda/head.cu"
#include "backend/cuda/join_parts.cu"
#include "backend/cuda/load.cu"
#include "backend/cuda/many_rows.cu"
#include "backend/cuda/products.cu"
#include "backend/cuda/rows.cu"
#include "backend/cuda/sample.cu"
#include "backend/cuda/vision.cu"
#include "backend/cuda/vision_attend.cu"
#include "backend/cuda/vision_wide.cu"

namespace carat::test {
namespace {

using Function = void (*)(const void*);

std::map<Function, unsigned>& clusters() {
  static std::map<Function, unsigned> sizes;
  return sizes;
}

template <auto kKernel, class Params>
Function call() {
  const Function function = [](const void* params) { kKernel(*static_cast<const Params*>(params)); };
  clusters()[function] = cuda::kClusterOf<kKernel>;
  return function;
}

const std::map<std::string, Function, std::less<>>& kernels() {
  static const std::map<std::string, Function, std::less<>> table = {
#define CARAT_ENTRY(name, Params) {#name, call<&cuda::name, cuda::Params>()},
      CARAT_CUDA_KERNELS(CARAT_ENTRY) CARAT_CUDA_VISION_KERNELS(CARAT_ENTRY) CARAT_CUDA_CORE_KERNELS(CARAT_ENTRY)
          CARAT_CUDA_MANY_KERNELS(CARAT_ENTRY)
#undef CARAT_ENTRY
#define CARAT_ENTRIES(type)                                                     \
  {"few_" #type, call<&cuda::few_##type, cuda::FewParams>()},                   \
      {"few_deep_" #type, call<&cuda::few_deep_##type, cuda::FewParams>()},     \
      {"few_gate_" #type, call<&cuda::few_gate_##type, cuda::FewParams>()},     \
      {"few_narrow_" #type, call<&cuda::few_narrow_##type, cuda::FewParams>()}, \
      {"few_shared_" #type, call<&cuda::few_shared_##type, cuda::FewParams>()}, \
      {"few_head_" #type, call<&cuda::few_head_##type, cuda::FewHeadParams>()}, \
      {"some_" #type, call<&cuda::some_##type, cuda::SomeParams>()},            \
      {"gemm_" #type, call<&cuda::gemm_##type, cuda::ProductParams>()},         \
      {"head_row_" #type, call<&cuda::head_row_##type, cuda::DecodeParams>()},
              CARAT_CUDA_TYPES(CARAT_ENTRIES)
#undef CARAT_ENTRIES
#define CARAT_ENTRIES(first, second) \
  {"few_pair_" #first "_" #second, call<&cuda::few_pair_##first##_##second, cuda::FewPairParams>()},
                  CARAT_CUDA_FEW_PAIRS(CARAT_ENTRIES)
#undef CARAT_ENTRIES
#define CARAT_ENTRIES(type) {"few_six_" #type, call<&cuda::few_six_##type, cuda::FewParams>()},
                      CARAT_CUDA_SIX_TYPES(CARAT_ENTRIES)
#undef CARAT_ENTRIES
#define CARAT_ENTRIES(type) {"few_gated_" #type, call<&cuda::few_gated_##type, cuda::FewParams>()},
                          CARAT_ENTRIES(F32) CARAT_ENTRIES(F16) CARAT_ENTRIES(BF16)
#undef CARAT_ENTRIES
#define CARAT_ENTRIES(type)                                                       \
  {"dense_" #type, call<&cuda::dense_##type, cuda::DenseParams>()},               \
      {"exact_gemm_" #type, call<&cuda::exact_gemm_##type, cuda::ExactParams>()}, \
      {"exact_gated_" #type, call<&cuda::exact_gated_##type, cuda::ExactParams>()},
                              CARAT_CUDA_QUANTISED_TYPES(CARAT_ENTRIES)
#undef CARAT_ENTRIES
  };
  return table;
}

class EmulatedDevice final : public cuda::Device {
 public:
  EmulatedDevice(int major, int multiprocessors) : major_(major), multiprocessors_(multiprocessors) {}
  cuda::DeviceFacts facts() const override {
    return {"emulator", major_, 0, multiprocessors_, (major_ >= 9 ? size_t{227} : size_t{160}) << 10, 1 << 30, 1 << 30};
  }
  void enter() override {}
  Result<void*> allocate(size_t bytes, std::string_view) override {
    void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256 + 256);
    std::memset(memory, 0xff, (bytes + 255) / 256 * 256 + 256);
    return memory;
  }
  void release(void* memory) override { std::free(memory); }
  Result<void*> allocate_host(size_t bytes) override { return allocate(bytes, ""); }
  void release_host(void* memory) override { std::free(memory); }
  Result<Kernel> find(std::string_view name) override {
    const Kernel found = emulated_kernel(name);
    if (found == nullptr) return Error{ErrorCode::kUnsupported, "no kernel " + std::string(name)};
    return found;
  }
  void upload(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void fill(void* to, uint8_t byte, size_t bytes) override { std::memset(to, byte, bytes); }
  void launch(Kernel kernel, const cuda::Launch& how, const void* params, size_t) override {
    launch_emulated(kernel, {how.grid[0], how.grid[1], how.grid[2]}, how.threads, how.shared_bytes, params,
                    how.together);
  }
  void mark(int) override {}
  Status finish() override { return {}; }
  Status wait_for(int, const std::function<void()>& meanwhile) override {
    if (meanwhile) meanwhile();
    return {};
  }
  double silent_seconds() const override { return 0; }
  double seconds_between(int, int) override { return 0; }

 private:
  const int major_, multiprocessors_;
};

}  // namespace

cuda::Device::Kernel emulated_kernel(std::string_view name) {
  const auto found = kernels().find(name);
  return found == kernels().end() ? nullptr : reinterpret_cast<cuda::Device::Kernel>(found->second);
}

std::vector<std::string> emulated_kernel_names() {
  std::vector<std::string> names;
  for (const auto& [name, function] : kernels()) names.push_back(name);
  return names;
}

void launch_emulated(cuda::Device::Kernel kernel, std::array<uint32_t, 3> grid, uint32_t threads, size_t shared_bytes,
                     const void* params, bool together) {
  cuda::emulator::launch(reinterpret_cast<Function>(const_cast<void*>(kernel)), {grid[0], grid[1], grid[2]},
                         {threads, 1, 1}, shared_bytes, params, together,
                         clusters().at(reinterpret_cast<Function>(const_cast<void*>(kernel))));
}

std::unique_ptr<cuda::Device> emulated_device(int major, int multiprocessors) {
  return std::make_unique<EmulatedDevice>(major, multiprocessors);
}

}  // namespace carat::test
