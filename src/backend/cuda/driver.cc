// A device behind NVIDIA's driver: one context, one stream, the build's kernels.
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <thread>
#include <unordered_map>
#include <vector>

#include "backend/cuda/cubins.h"
#include "backend/cuda/device.h"
#include "backend/cuda/driver_api.h"

namespace carat::cuda {
namespace {

constexpr int kMarks = 1024;
constexpr std::chrono::seconds kPatience{60};     // with one step: longer is a hang
constexpr std::chrono::microseconds kSpin{2000};  // looks at the device without a pause so long

class DriverDevice final : public Device {
 public:
  explicit DriverDevice(const DriverApi& api) : api_(api) {}
  ~DriverDevice() override {
    if (context_ == nullptr) return;
    api_.cuCtxSetCurrent(context_);
    for (CuEvent* event : events_) {
      if (event != nullptr) api_.cuEventDestroy_v2(event);
    }
    if (stream_ != nullptr) api_.cuStreamDestroy_v2(stream_);
    api_.cuDevicePrimaryCtxRelease_v2(device_);
  }

  // Takes device `ordinal` if the build has kernels for it.
  Status open(int ordinal) {
    char name[256] = {};
    CARAT_CHECK(checked(api_.cuDeviceGet(&device_, ordinal), "finding the device"));
    CARAT_CHECK(checked(api_.cuDeviceGetName(name, sizeof name - 1, device_), "naming the device"));
    facts_.name = name;
    api_.cuDeviceGetAttribute(&facts_.major, kCuMajor, device_);
    api_.cuDeviceGetAttribute(&facts_.minor, kCuMinor, device_);
    api_.cuDeviceGetAttribute(&facts_.multiprocessors, kCuMultiprocessorCount, device_);
    int shared = 0;
    api_.cuDeviceGetAttribute(&shared, kCuSharedBytesOptin, device_);
    facts_.shared_bytes = static_cast<size_t>(shared);
    const int arch = best_arch();
    if (arch == 0) {
      std::vector<std::string> built;
      for (const Cubin& cubin : cubins()) {
        const std::string one = fmt::format("sm_{}", cubin.arch);
        if (built.empty() || built.back() != one) built.push_back(one);
      }
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{} is an sm_{}{}; this program was built for {} (CARAT_CUDA_ARCHS)", name, facts_.major,
                               facts_.minor, fmt::join(built, ", "))};
    }
    CARAT_CHECK(checked(api_.cuDevicePrimaryCtxRetain(&context_, device_), "opening the device"));
    CARAT_CHECK(checked(api_.cuCtxSetCurrent(context_), "opening the device"));
    CARAT_CHECK(checked(api_.cuStreamCreate(&stream_, kCuStreamNonBlocking), "opening the device"));
    for (CuEvent*& event : events_) CARAT_CHECK(checked(api_.cuEventCreate(&event, 0), "opening the device"));
    for (const Cubin& cubin : cubins()) {
      if (cubin.arch != arch) continue;
      CuModule* module = nullptr;
      const CuResult result = api_.cuModuleLoadData(&module, cubin.data);
      if (result != 0) {
        int version = 0;
        api_.cuDriverGetVersion(&version);
        return Error{
            ErrorCode::kUnsupported,
            fmt::format("{}: the driver (CUDA {}.{}) does not take the kernels of sm_{}: {}; they must be built by a "
                        "compiler of CUDA {} or before",
                        name, version / 1000, version % 1000 / 10, arch, text_of(result), version / 1000)};
      }
      modules_.push_back(module);
    }
    return {};
  }

  DeviceFacts facts() const override {
    DeviceFacts facts = facts_;
    size_t free = 0, total = 0;
    api_.cuCtxSetCurrent(context_);
    api_.cuMemGetInfo_v2(&free, &total);
    facts.free_bytes = free;
    facts.memory_bytes = total;
    return facts;
  }
  void enter() override { note(api_.cuCtxSetCurrent(context_), "entering the device"); }

  Result<void*> allocate(size_t bytes, std::string_view what) override {
    CuPointer pointer = 0;
    const CuResult result = api_.cuMemAlloc_v2(&pointer, std::max<size_t>(bytes, 256));
    if (result == kCuOutOfMemory) {
      const DeviceFacts now = facts();
      return Error{ErrorCode::kOutOfMemory,
                   fmt::format("{} needs {} MiB of device memory for {}; {} of {} MiB are free", "carat", bytes >> 20,
                               what, now.free_bytes >> 20, now.memory_bytes >> 20)};
    }
    CARAT_CHECK(checked(result, "allocating device memory"));
    return reinterpret_cast<void*>(pointer);
  }
  void release(void* memory) override {
    api_.cuCtxSetCurrent(context_);
    api_.cuMemFree_v2(pointer(memory));
  }
  Result<void*> allocate_host(size_t bytes) override {
    void* memory = nullptr;
    CARAT_CHECK(checked(api_.cuMemHostAlloc(&memory, std::max<size_t>(bytes, 256), 0), "allocating pinned memory"));
    return memory;
  }
  void release_host(void* memory) override {
    api_.cuCtxSetCurrent(context_);
    api_.cuMemFreeHost(memory);
  }
  Result<Kernel> find(std::string_view name) override {
    const std::string key(name);
    for (CuModule* module : modules_) {
      CuFunction* function = nullptr;
      if (api_.cuModuleGetFunction(&function, module, key.c_str()) == 0) return static_cast<Kernel>(function);
    }
    return Error{ErrorCode::kUnsupported, fmt::format("this program was built without the kernel {}", name)};
  }

  void upload(void* to, const void* from, size_t bytes) override {
    if (bytes != 0) note(api_.cuMemcpyHtoDAsync_v2(pointer(to), from, bytes, stream_), "copying to the device");
  }
  void download(void* to, const void* from, size_t bytes) override {
    if (bytes != 0) note(api_.cuMemcpyDtoHAsync_v2(to, pointer(from), bytes, stream_), "copying from the device");
  }
  void fill(void* to, uint8_t byte, size_t bytes) override {
    if (bytes != 0) note(api_.cuMemsetD8Async(pointer(to), byte, bytes, stream_), "filling device memory");
  }
  void launch(Kernel kernel, const Launch& how, const void* params, size_t) override {
    if (!failure_.empty()) return;
    auto* function = static_cast<CuFunction*>(const_cast<void*>(kernel));
    size_t& granted = shared_bytes_[kernel];
    if (how.shared_bytes > 48 * 1024 && how.shared_bytes > granted) {  // more than every block gets has to be asked for
      note(api_.cuFuncSetAttribute(function, kCuMaxDynamicSharedBytes, static_cast<int>(how.shared_bytes)),
           "a kernel's memory");
      granted = how.shared_bytes;
    }
    void* arguments[] = {const_cast<void*>(params)};
    const auto shared = static_cast<unsigned>(how.shared_bytes);
    if (how.early && facts_.major >= 9) {
      CuLaunchAttribute early{};
      early.id = kCuProgrammaticStreamSerialization;
      early.value = 1;
      const CuLaunchConfig config{
          {how.grid[0], how.grid[1], how.grid[2]}, {how.threads, 1, 1}, shared, stream_, &early, 1};
      note(api_.cuLaunchKernelEx(&config, function, arguments, nullptr), "starting a kernel");
      return;
    }
    note(how.together ? api_.cuLaunchCooperativeKernel(function, how.grid[0], how.grid[1], how.grid[2], how.threads, 1,
                                                       1, shared, stream_, arguments)
                      : api_.cuLaunchKernel(function, how.grid[0], how.grid[1], how.grid[2], how.threads, 1, 1, shared,
                                            stream_, arguments, nullptr),
         "starting a kernel");
  }
  void mark(int index) override {
    note(api_.cuEventRecord(events_[static_cast<size_t>(index)], stream_), "marking the time");
  }

  Status finish() override {
    CuEvent* end = events_.back();
    note(api_.cuEventRecord(end, stream_), "waiting");
    const auto begin = std::chrono::steady_clock::now();
    while (failure_.empty()) {
      const CuResult result = api_.cuEventQuery(end);
      if (result == 0) break;
      if (result != kCuNotReady) {
        note(result, "computing");
        break;
      }
      const auto waited = std::chrono::steady_clock::now() - begin;
      if (waited > kPatience) {
        failure_ = fmt::format("{}: a step has not ended after {} seconds", facts_.name, kPatience.count());
      } else if (waited > kSpin) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
    if (failure_.empty()) return {};
    return Error{ErrorCode::kIo, failure_};
  }
  double seconds_between(int first, int second) override {
    float milliseconds = 0;
    api_.cuEventElapsedTime(&milliseconds, events_[static_cast<size_t>(first)], events_[static_cast<size_t>(second)]);
    return milliseconds * 1e-3;
  }

 private:
  static CuPointer pointer(const void* p) { return reinterpret_cast<CuPointer>(p); }

  // Machine code of sm_XY runs on sm_XZ with Z >= Y, of the same X.
  int best_arch() const {
    int best = 0;
    for (const Cubin& cubin : cubins()) {
      if (cubin.arch / 10 == facts_.major && cubin.arch % 10 <= facts_.minor) best = std::max(best, cubin.arch);
    }
    return best;
  }

  std::string text_of(CuResult result) const {
    const char* text = nullptr;
    api_.cuGetErrorString(result, &text);
    return text == nullptr ? fmt::format("error {}", result) : text;
  }
  Status checked(CuResult result, std::string_view what) const {
    if (result == 0) return {};
    return Error{ErrorCode::kIo, fmt::format("{}: {}: {}", facts_.name, what, text_of(result))};
  }
  void note(CuResult result, std::string_view what) {
    if (result != 0 && failure_.empty()) failure_ = fmt::format("{}: {}: {}", facts_.name, what, text_of(result));
  }

  const DriverApi& api_;
  DeviceFacts facts_;
  int device_ = 0;
  CuContext* context_ = nullptr;
  CuStream* stream_ = nullptr;
  std::array<CuEvent*, kMarks + 1> events_{};
  std::vector<CuModule*> modules_;
  std::unordered_map<Kernel, size_t> shared_bytes_;
  std::string failure_;  // sticky
};

}  // namespace

Result<std::unique_ptr<Device>> open_device() {
  CARAT_TRY(const DriverApi* api, driver_api());
  int count = 0;
  if (api->cuDeviceGetCount(&count) != 0 || count == 0) {
    return Error{ErrorCode::kUnsupported, "the NVIDIA driver finds no device"};
  }
  Error first{ErrorCode::kUnsupported, ""};
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    auto device = std::make_unique<DriverDevice>(*api);
    const Status opened = device->open(ordinal);
    if (opened.ok()) return std::unique_ptr<Device>(std::move(device));
    if (first.message.empty()) first = opened.error();
  }
  return first;
}

}  // namespace carat::cuda
