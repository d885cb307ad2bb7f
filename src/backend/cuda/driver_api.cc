#include "backend/cuda/driver_api.h"

#include <dlfcn.h>
#include <fmt/core.h>

namespace carat::cuda {
namespace {

struct Loaded {
  DriverApi api{};
  std::string missing;  // why it could not be loaded; empty: it was
};

Loaded load() {
  Loaded out;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    out.missing = "this machine has no NVIDIA driver (libcuda.so.1)";
    return out;
  }
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    if (function == nullptr && out.missing.empty())
      out.missing = fmt::format("the NVIDIA driver is too old: it has no {}", name);
  };
#define CARAT_LOAD(name) find(out.api.name, #name)
  CARAT_LOAD(cuInit);
  CARAT_LOAD(cuDriverGetVersion);
  CARAT_LOAD(cuGetErrorString);
  CARAT_LOAD(cuDeviceGetCount);
  CARAT_LOAD(cuDeviceGet);
  CARAT_LOAD(cuDeviceGetName);
  CARAT_LOAD(cuDeviceGetAttribute);
  CARAT_LOAD(cuDevicePrimaryCtxRetain);
  CARAT_LOAD(cuDevicePrimaryCtxRelease_v2);
  CARAT_LOAD(cuCtxSetCurrent);
  CARAT_LOAD(cuModuleLoadData);
  CARAT_LOAD(cuModuleUnload);
  CARAT_LOAD(cuModuleGetFunction);
  CARAT_LOAD(cuFuncSetAttribute);
  CARAT_LOAD(cuMemGetInfo_v2);
  CARAT_LOAD(cuMemAlloc_v2);
  CARAT_LOAD(cuMemFree_v2);
  CARAT_LOAD(cuMemHostAlloc);
  CARAT_LOAD(cuMemFreeHost);
  CARAT_LOAD(cuMemcpyHtoDAsync_v2);
  CARAT_LOAD(cuMemcpyDtoHAsync_v2);
  CARAT_LOAD(cuMemsetD8Async);
  CARAT_LOAD(cuStreamCreate);
  CARAT_LOAD(cuStreamDestroy_v2);
  CARAT_LOAD(cuEventCreate);
  CARAT_LOAD(cuEventDestroy_v2);
  CARAT_LOAD(cuEventRecord);
  CARAT_LOAD(cuEventQuery);
  CARAT_LOAD(cuEventElapsedTime);
  CARAT_LOAD(cuLaunchKernel);
  CARAT_LOAD(cuLaunchKernelEx);
  CARAT_LOAD(cuLaunchCooperativeKernel);
#undef CARAT_LOAD
  if (!out.missing.empty()) return out;
  const CuResult result = out.api.cuInit(0);
  if (result != 0) {
    const char* text = nullptr;
    out.api.cuGetErrorString(result, &text);
    out.missing = fmt::format("the NVIDIA driver does not start: {}", text == nullptr ? "unknown error" : text);
  }
  return out;
}

}  // namespace

Result<const DriverApi*> driver_api() {
  static const Loaded loaded = load();
  if (!loaded.missing.empty()) return Error{ErrorCode::kUnsupported, loaded.missing};
  return &loaded.api;
}

}  // namespace carat::cuda
