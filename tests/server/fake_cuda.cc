// A libcuda.so.1 without a device, for device_test.py: memory is the host's, kernels do nothing, and FAKE_CUDA says what it
// claims to be and what goes wrong: "major=8 minor=7 version=12060 devices=1 init=0 bytes=N step=719": from the first kernel
// of a forward pass on, questions whether it has ended are answered so.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

int64_t setting(const char* name, int64_t usual) {
  const char* all = std::getenv("FAKE_CUDA");
  const char* found = all == nullptr ? nullptr : std::strstr(all, (std::string(name) + "=").c_str());
  return found == nullptr ? usual : std::atoll(found + std::strlen(name) + 1);
}

std::atomic<int> outcome{0};
std::atomic<int64_t> taken{0};

int allocate(void** out, size_t bytes) {
  const auto size = static_cast<int64_t>(bytes);
  if (taken + size > setting("bytes", int64_t{1} << 40)) return 2;
  taken += size;
  *out = std::calloc(bytes + 256, 1);
  return *out == nullptr ? 2 : 0;
}

struct Kernel {
  bool of_a_step;
};

int launch(const void* kernel) {
  if (static_cast<const Kernel*>(kernel)->of_a_step) outcome = static_cast<int>(setting("step", 0));
  return 0;
}

}  // namespace

extern "C" {
int cuInit(unsigned) { return static_cast<int>(setting("init", 0)); }
int cuDriverGetVersion(int* version) { return *version = static_cast<int>(setting("version", 13000)), 0; }
int cuGetErrorString(int error, const char** text) {
  *text = error == 719   ? "unspecified launch failure"
          : error == 803 ? "system has unsupported display driver"
                         : "no words";
  return 0;
}
int cuDeviceGetCount(int* count) { return *count = static_cast<int>(setting("devices", 1)), 0; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, 0; }
int cuDeviceGetName(char* name, int length, int) { return std::snprintf(name, static_cast<size_t>(length), "Fake"), 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
  *value = static_cast<int>(attribute == 75   ? setting("major", 9)
                            : attribute == 76 ? setting("minor", 0)
                            : attribute == 16 ? 4
                            : attribute == 18 ? setting("integrated", 0)
                                              : 160 << 10);
  return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &outcome, 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxSetCurrent(void*) { return 0; }
int cuModuleLoadData(void** module, const void*) { return *module = &outcome, 0; }
int cuModuleUnload(void*) { return 0; }
int cuModuleGetFunction(void** function, void*, const char* name) {
  *function = new Kernel{std::strncmp(name, "decode_row", 10) == 0 || std::strcmp(name, "embed_rows") == 0};
  return 0;
}
int cuFuncSetAttribute(void*, int, int) { return 0; }
int cuMemGetInfo_v2(size_t* free, size_t* total) {
  *total = static_cast<size_t>(setting("bytes", int64_t{8} << 30));
  *free = *total - static_cast<size_t>(taken);
  return 0;
}
int cuMemAlloc_v2(uint64_t* pointer, size_t bytes) { return allocate(reinterpret_cast<void**>(pointer), bytes); }
int cuMemFree_v2(uint64_t pointer) { return std::free(reinterpret_cast<void*>(pointer)), outcome.load(); }
int cuMemHostAlloc(void** pointer, size_t bytes, unsigned) { return allocate(pointer, bytes); }
int cuMemFreeHost(void* pointer) { return std::free(pointer), outcome.load(); }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
  return std::memcpy(reinterpret_cast<void*>(to), from, bytes), outcome.load();
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void*) {
  return std::memcpy(to, reinterpret_cast<const void*>(from), bytes), outcome.load();
}
int cuMemsetD8Async(uint64_t to, unsigned char byte, size_t count, void*) {
  return std::memset(reinterpret_cast<void*>(to), byte, count), outcome.load();
}
int cuStreamCreate(void** stream, unsigned) { return *stream = &outcome, 0; }
int cuStreamDestroy_v2(void*) { return outcome; }
int cuEventCreate(void** event, unsigned) { return *event = &outcome, 0; }
int cuEventDestroy_v2(void*) { return outcome; }
int cuEventRecord(void*, void*) { return outcome; }
int cuEventQuery(void*) { return outcome; }
int cuEventElapsedTime(float* milliseconds, void*, void*) { return *milliseconds = 1, 0; }
int cuLaunchKernel(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**,
                   void**) {
  return launch(function);
}
int cuLaunchKernelEx(const void*, void* function, void**, void**) { return launch(function); }
int cuLaunchCooperativeKernel(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                              void*, void**) {
  return launch(function);
}
}
