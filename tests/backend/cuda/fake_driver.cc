#include "backend/cuda/fake_driver.h"

#include <elf.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <deque>

#include "backend/cuda/emulated_device.h"

namespace carat::test {
namespace {

using namespace cuda;

FakeDriver state;
constexpr CuResult kLaunchFailed = 719;

bool has_failed() { return state.launches_until_failure >= 0 && state.launches > state.launches_until_failure; }
CuResult outcome() {
  return has_failed() && state.failure == FakeDriver::Failure::kStepFails ? kLaunchFailed : CuResult{0};
}
CuResult freed(const char* name) {
  if (has_failed()) state.calls_after_failure.emplace_back(name);
  return outcome();
}

CuResult launch(CuFunction* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned shared,
                void** params, bool together) {
  ++state.launches;
  if (!has_failed()) {
    launch_emulated(function, {x, y, z}, threads, shared, params[0], together);
    return 0;
  }
  if (state.failure == FakeDriver::Failure::kLaunchIsRefused) return 1;
  while (state.failure == FakeDriver::Failure::kCallNeverReturns) ::pause();
  return 0;  // what fails then is told later
}

int token;  // what handles point to
template <class T>
T* handle() {
  return reinterpret_cast<T*>(&token);
}
CuResult allocate(void** out, size_t bytes) {
  if (state.allocations_until_none == 0) return kCuOutOfMemory;
  if (state.allocations_until_none > 0) --state.allocations_until_none;
  const size_t size = (bytes + 255) / 256 * 256 + 256;
  *out = std::aligned_alloc(256, size);
  std::memset(*out, 0xff, size);
  return 0;
}

const DriverApi kApi = {
    .cuInit = [](unsigned) { return 0; },
    .cuDriverGetVersion =
        [](int* version) {
          *version = state.version;
          return 0;
        },
    .cuGetErrorString =
        [](CuResult error, const char** text) {
          *text = error == kLaunchFailed ? "unspecified launch failure" : "invalid argument";
          return 0;
        },
    .cuDeviceGetCount =
        [](int* count) {
          *count = state.devices;
          return 0;
        },
    .cuDeviceGet =
        [](int* device, int ordinal) {
          *device = ordinal;
          return 0;
        },
    .cuDeviceGetName =
        [](char* name, int length, int) {
          std::strncpy(name, "Fake 100", static_cast<size_t>(length));
          return 0;
        },
    .cuDeviceGetAttribute =
        [](int* value, int attribute, int) {
          *value = attribute == kCuMajor                 ? state.major
                   : attribute == kCuMinor               ? state.minor
                   : attribute == kCuMultiprocessorCount ? 3
                   : attribute == kCuIntegrated          ? int{state.integrated}
                                                         : 160 << 10;
          return 0;
        },
    .cuDevicePrimaryCtxRetain =
        [](CuContext** context, int) {
          *context = handle<CuContext>();
          return 0;
        },
    .cuDevicePrimaryCtxRelease_v2 = [](int) { return freed("cuDevicePrimaryCtxRelease"); },
    .cuCtxSetCurrent = [](CuContext*) { return 0; },
    .cuModuleLoadData =
        [](CuModule** module, const void* image) {
          ++state.modules_loaded;
          *module = reinterpret_cast<CuModule*>(const_cast<void*>(image));
          return 0;
        },
    .cuModuleUnload = [](CuModule*) { return freed("cuModuleUnload"); },
    .cuModuleGetFunction =
        [](CuFunction** function, CuModule*, const char* name) {
          const auto kernel = emulated_kernel(name);
          *function = reinterpret_cast<CuFunction*>(const_cast<void*>(kernel));
          state.function_missed = state.function_missed || kernel == nullptr;
          return kernel == nullptr ? 500 : 0;
        },
    .cuFuncSetAttribute = [](CuFunction*, int, int) { return 0; },
    .cuMemGetInfo_v2 =
        [](size_t* free, size_t* total) {
          *free = state.free_bytes;
          *total = size_t{1} << 30;
          return 0;
        },
    .cuMemAlloc_v2 =
        [](CuPointer* pointer, size_t bytes) {
          void* memory = nullptr;
          const CuResult result = allocate(&memory, bytes);
          *pointer = reinterpret_cast<CuPointer>(memory);
          return result;
        },
    .cuMemFree_v2 =
        [](CuPointer pointer) {
          std::free(reinterpret_cast<void*>(pointer));
          return freed("cuMemFree");
        },
    .cuMemHostAlloc = [](void** pointer, size_t bytes, unsigned) { return allocate(pointer, bytes); },
    .cuMemFreeHost =
        [](void* pointer) {
          std::free(pointer);
          return freed("cuMemFreeHost");
        },
    .cuMemcpyHtoDAsync_v2 =
        [](CuPointer to, const void* from, size_t bytes, CuStream*) {
          std::memcpy(reinterpret_cast<void*>(to), from, bytes);
          return outcome();
        },
    .cuMemcpyDtoHAsync_v2 =
        [](void* to, CuPointer from, size_t bytes, CuStream*) {
          std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
          return outcome();
        },
    .cuMemsetD8Async =
        [](CuPointer to, unsigned char byte, size_t count, CuStream*) {
          std::memset(reinterpret_cast<void*>(to), byte, count);
          return outcome();
        },
    .cuStreamCreate =
        [](CuStream** stream, unsigned) {
          *stream = handle<CuStream>();
          return 0;
        },
    .cuStreamDestroy_v2 = [](CuStream*) { return freed("cuStreamDestroy"); },
    .cuEventCreate =
        [](CuEvent** event, unsigned) {
          *event = handle<CuEvent>();
          return 0;
        },
    .cuEventDestroy_v2 = [](CuEvent*) { return freed("cuEventDestroy"); },
    .cuEventRecord = [](CuEvent*, CuStream*) { return 0; },
    .cuEventQuery =
        [](CuEvent*) {
          return has_failed() && state.failure == FakeDriver::Failure::kStepNeverEnds ? kCuNotReady : outcome();
        },
    .cuEventElapsedTime =
        [](float* milliseconds, CuEvent*, CuEvent*) {
          *milliseconds = 0;
          return 0;
        },
    .cuLaunchKernel = [](CuFunction* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned,
                         unsigned shared, CuStream*, void** params,
                         void**) { return launch(function, x, y, z, threads, shared, params, false); },
    .cuLaunchKernelEx =
        [](const CuLaunchConfig* how, CuFunction* function, void** params, void**) {
          return launch(function, how->grid[0], how->grid[1], how->grid[2], how->block[0], how->shared_bytes, params,
                        false);
        },
    .cuLaunchCooperativeKernel =
        [](CuFunction* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned,
           unsigned shared, CuStream*,
           void** params) { return launch(function, x, y, z, threads, shared, params, true); }};

// An ELF file of nothing but section names, as far as driver.cc looks.
std::vector<unsigned char> elf_of(const std::vector<std::string>& kernels) {
  std::string names(1, '\0');
  std::vector<Elf64_Shdr> sections(2);
  sections[1].sh_name = 0;
  for (const std::string& kernel : kernels) {
    Elf64_Shdr section{};
    section.sh_name = static_cast<Elf64_Word>(names.size());
    names += ".text." + kernel + '\0';
    sections.push_back(section);
  }
  Elf64_Ehdr header{};
  header.e_shoff = sizeof header;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = static_cast<Elf64_Half>(sections.size());
  header.e_shstrndx = 1;
  sections[1].sh_offset = sizeof header + sections.size() * sizeof(Elf64_Shdr);
  std::vector<unsigned char> out(sections[1].sh_offset + names.size());
  std::memcpy(out.data(), &header, sizeof header);
  std::memcpy(out.data() + sizeof header, sections.data(), sections.size() * sizeof(Elf64_Shdr));
  std::memcpy(out.data() + sections[1].sh_offset, names.data(), names.size());
  return out;
}

}  // namespace

FakeDriver& fake_driver() {
  state = {};
  return state;
}

const DriverApi& fake_api() { return kApi; }

std::span<const Cubin> fake_cubins(std::vector<int> archs, int compiler) {
  static std::deque<std::vector<unsigned char>> files;
  static std::deque<std::vector<Cubin>> tables;
  std::vector<Cubin>& table = tables.emplace_back();
  std::vector<std::string> halves[2];
  for (const std::string& name : emulated_kernel_names()) halves[name < "gemm" ? 0 : 1].push_back(name);
  for (const int arch : archs) {
    for (const auto& half : halves) table.push_back({arch, compiler, "half", files.emplace_back(elf_of(half)).data()});
  }
  return table;
}

}  // namespace carat::test
