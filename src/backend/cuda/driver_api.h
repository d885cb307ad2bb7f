// NVIDIA's driver interface, loaded at run time: the program starts on machines that have no driver, and building it needs
// no header of CUDA's. Names and signatures are those of cuda.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace carat::cuda {

using CuResult = int;  // 0 is success
using CuPointer = uint64_t;
struct CuContext;
struct CuModule;
struct CuFunction;
struct CuStream;
struct CuEvent;

// CUlaunchConfig, with room for the one attribute that is used.
struct CuLaunchAttribute {
  int id;
  char pad[4];
  union {
    char bytes[64];
    int value;
  };
};
struct CuLaunchConfig {
  unsigned grid[3], block[3];
  unsigned shared_bytes;
  CuStream* stream;
  CuLaunchAttribute* attributes;
  unsigned count;
};

struct DriverApi {
  CuResult (*cuInit)(unsigned flags);
  CuResult (*cuDriverGetVersion)(int* version);
  CuResult (*cuGetErrorString)(CuResult error, const char** text);
  CuResult (*cuDeviceGetCount)(int* count);
  CuResult (*cuDeviceGet)(int* device, int ordinal);
  CuResult (*cuDeviceGetName)(char* name, int length, int device);
  CuResult (*cuDeviceGetAttribute)(int* value, int attribute, int device);
  CuResult (*cuDevicePrimaryCtxRetain)(CuContext** context, int device);
  CuResult (*cuDevicePrimaryCtxRelease_v2)(int device);
  CuResult (*cuCtxSetCurrent)(CuContext* context);
  CuResult (*cuModuleLoadData)(CuModule** module, const void* image);
  CuResult (*cuModuleUnload)(CuModule* module);
  CuResult (*cuModuleGetFunction)(CuFunction** function, CuModule* module, const char* name);
  CuResult (*cuFuncSetAttribute)(CuFunction* function, int attribute, int value);
  CuResult (*cuMemGetInfo_v2)(size_t* free, size_t* total);
  CuResult (*cuMemAlloc_v2)(CuPointer* pointer, size_t bytes);
  CuResult (*cuMemFree_v2)(CuPointer pointer);
  CuResult (*cuMemHostAlloc)(void** pointer, size_t bytes, unsigned flags);
  CuResult (*cuMemFreeHost)(void* pointer);
  CuResult (*cuMemcpyHtoDAsync_v2)(CuPointer to, const void* from, size_t bytes, CuStream* stream);
  CuResult (*cuMemcpyDtoHAsync_v2)(void* to, CuPointer from, size_t bytes, CuStream* stream);
  CuResult (*cuMemsetD8Async)(CuPointer to, unsigned char byte, size_t count, CuStream* stream);
  CuResult (*cuStreamCreate)(CuStream** stream, unsigned flags);
  CuResult (*cuStreamDestroy_v2)(CuStream* stream);
  CuResult (*cuEventCreate)(CuEvent** event, unsigned flags);
  CuResult (*cuEventDestroy_v2)(CuEvent* event);
  CuResult (*cuEventRecord)(CuEvent* event, CuStream* stream);
  CuResult (*cuEventQuery)(CuEvent* event);
  CuResult (*cuEventElapsedTime)(float* milliseconds, CuEvent* begin, CuEvent* end);
  CuResult (*cuLaunchKernel)(CuFunction* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                             unsigned block_y, unsigned block_z, unsigned shared_bytes, CuStream* stream, void** params,
                             void** extra);
  CuResult (*cuLaunchKernelEx)(const CuLaunchConfig* config, CuFunction* function, void** params, void** extra);
  CuResult (*cuLaunchCooperativeKernel)(CuFunction* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                                        CuStream* stream, void** params);
};

// Loaded once, never unloaded. Errors: kUnsupported where the machine has no driver.
Result<const DriverApi*> driver_api();

inline constexpr CuResult kCuOutOfMemory = 2;
inline constexpr CuResult kCuNotReady = 600;
inline constexpr int kCuMultiprocessorCount = 16;  // CU_DEVICE_ATTRIBUTE_...
inline constexpr int kCuIntegrated = 18;
inline constexpr int kCuSharedBytesOptin = 97;
inline constexpr int kCuMajor = 75;
inline constexpr int kCuMinor = 76;
inline constexpr int kCuMaxDynamicSharedBytes = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
inline constexpr unsigned kCuStreamNonBlocking = 1;
inline constexpr int kCuProgrammaticStreamSerialization = 6;  // CU_LAUNCH_ATTRIBUTE_...

}  // namespace carat::cuda
