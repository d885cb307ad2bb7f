// A device behind NVIDIA's driver: one context, one stream, the build's kernels.
#include "backend/cuda/driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <thread>
#include <unordered_map>
#include <vector>

#include "backend/cuda/cubin_names.h"
#include "backend/device_loss.h"
#include "base/topology.h"

namespace carat::cuda {
namespace {

constexpr int kMarks = 1024;
constexpr std::chrono::microseconds kSpin{2000};  // looks at the device without a pause so long

using Clock = std::chrono::steady_clock;

std::string text_of(const DriverApi& api, CuResult result) {
  const char* text = nullptr;
  api.cuGetErrorString(result, &text);
  return text == nullptr ? fmt::format("error {}", result) : text;
}

// Machine code of sm_XY runs on sm_XZ with Z >= Y, of the same X. 0: there is none.
int best_arch(const DeviceFacts& facts, std::span<const Cubin> kernels) {
  int best = 0;
  for (const Cubin& cubin : kernels) {
    if (cubin.arch / 10 == facts.major && cubin.arch % 10 <= facts.minor) best = std::max(best, cubin.arch);
  }
  return best;
}

struct Found {
  int device = 0, arch = 0;
  DeviceFacts facts;
};

// What a device is, and whether the build has kernels that its driver takes: nothing is opened for that.
Result<Found> look_at(const DriverApi& api, int ordinal, std::span<const Cubin> kernels) {
  Found found;
  DeviceFacts& facts = found.facts;
  char name[256] = {};
  CuResult result = api.cuDeviceGet(&found.device, ordinal);
  if (result == 0) result = api.cuDeviceGetName(name, sizeof name - 1, found.device);
  if (result != 0) {
    return Error{ErrorCode::kUnsupported, fmt::format("device {}: {}", ordinal, text_of(api, result))};
  }
  facts.name = name;
  int shared = 0;
  api.cuDeviceGetAttribute(&facts.major, kCuMajor, found.device);
  api.cuDeviceGetAttribute(&facts.minor, kCuMinor, found.device);
  api.cuDeviceGetAttribute(&facts.multiprocessors, kCuMultiprocessorCount, found.device);
  api.cuDeviceGetAttribute(&shared, kCuSharedBytesOptin, found.device);
  facts.shared_bytes = static_cast<size_t>(shared);
  int integrated = 0;
  api.cuDeviceGetAttribute(&integrated, kCuIntegrated, found.device);
  facts.shares_memory = integrated != 0;
  found.arch = best_arch(facts, kernels);
  if (found.arch == 0) {
    std::vector<std::string> built;
    for (const Cubin& cubin : kernels) {
      const std::string one = fmt::format("sm_{}", cubin.arch);
      if (built.empty() || built.back() != one) built.push_back(one);
    }
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{} is an sm_{}{}; this program was built for {} (CARAT_CUDA_ARCHS)", name, facts.major,
                             facts.minor, fmt::join(built, ", "))};
  }
  int version = 0;
  api.cuDriverGetVersion(&version);
  for (const Cubin& cubin : kernels) {
    if (cubin.arch != found.arch || cubin.compiler <= version / 1000) continue;
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("{}: its driver is of CUDA {}.{} and takes no kernels of a compiler of CUDA {}, which made "
                    "those of sm_{}: a newer driver does, or a build by CUDA {}",
                    name, version / 1000, version % 1000 / 10, cubin.compiler, found.arch, version / 1000)};
  }
  return found;
}

// The first device that there are kernels for.
Result<Found> find_device(const DriverApi& api, std::span<const Cubin> kernels) {
  int count = 0;
  if (api.cuDeviceGetCount(&count) != 0 || count == 0) {
    return Error{ErrorCode::kUnsupported, "the NVIDIA driver finds no device"};
  }
  Result<Found> first = look_at(api, 0, kernels);
  for (int ordinal = 1; ordinal < count && !first.ok(); ++ordinal) {
    if (auto found = look_at(api, ordinal, kernels); found.ok()) return found;
  }
  return first;
}

class DriverDevice final : public Device {
 public:
  DriverDevice(const DriverApi& api, const Found& found, double patience_seconds)
      : api_(api), facts_(found.facts), device_(found.device), patience_(patience_seconds) {}
  ~DriverDevice() override {
    if (context_ == nullptr || !failure_.empty()) return;  // what hangs would be waited for
    api_.cuCtxSetCurrent(context_);
    for (CuEvent* event : events_) {
      if (event != nullptr) api_.cuEventDestroy_v2(event);
    }
    if (stream_ != nullptr) api_.cuStreamDestroy_v2(stream_);
    for (const Module& module : modules_) {
      if (module.loaded != nullptr) api_.cuModuleUnload(module.loaded);
    }
    api_.cuDevicePrimaryCtxRelease_v2(device_);
  }

  Status open(int arch, std::span<const Cubin> kernels) {
    CARAT_CHECK(checked(api_.cuDevicePrimaryCtxRetain(&context_, device_), "opening the device"));
    CARAT_CHECK(checked(api_.cuCtxSetCurrent(context_), "opening the device"));
    CARAT_CHECK(checked(api_.cuStreamCreate(&stream_, kCuStreamNonBlocking), "opening the device"));
    CARAT_CHECK(checked(api_.cuEventCreate(&events_.back(), 0), "opening the device"));
    for (const Cubin& cubin : kernels) {
      if (cubin.arch != arch) continue;
      for (const std::string_view name : kernels_of(cubin.data)) module_of_.emplace(name, modules_.size());
      modules_.push_back({cubin.data});
    }
    return {};
  }

  DeviceFacts facts() const override {
    DeviceFacts facts = facts_;
    size_t free = 0, total = 0;
    facts.patience_seconds = patience_;
    if (failure_.empty()) {
      api_.cuCtxSetCurrent(context_);
      api_.cuMemGetInfo_v2(&free, &total);
    }
    facts.memory_bytes = total;
    facts.free_bytes = facts.shares_memory ? std::min<uint64_t>(total, usable_without_swap_bytes()) : free;
    return facts;
  }
  void enter() override { note(api_.cuCtxSetCurrent(context_), "entering the device"); }

  Result<void*> allocate(size_t bytes, std::string_view what) override {
    CuPointer pointer = 0;
    const CuResult result = api_.cuMemAlloc_v2(&pointer, std::max<size_t>(bytes, 256));
    if (result == kCuOutOfMemory) {
      const DeviceFacts now = facts();
      return Error{ErrorCode::kOutOfMemory,
                   fmt::format("{} needs {} MiB of device memory for {}; {} of {} MiB are free", "carat",
                               (bytes + (1 << 20) - 1) >> 20, what, now.free_bytes >> 20, now.memory_bytes >> 20)};
    }
    note(result, "allocating device memory");
    CARAT_CHECK(status());
    return reinterpret_cast<void*>(pointer);
  }
  void release(void* memory) override {
    if (!failure_.empty()) return;
    api_.cuCtxSetCurrent(context_);
    api_.cuMemFree_v2(pointer(memory));
  }
  Result<void*> allocate_host(size_t bytes) override {
    void* memory = nullptr;
    const CuResult result = api_.cuMemHostAlloc(&memory, std::max<size_t>(bytes, 256), 0);
    if (result == kCuOutOfMemory) {
      return Error{ErrorCode::kOutOfMemory, fmt::format("no {} KiB of pinned memory can be had", (bytes + 1023) >> 10)};
    }
    note(result, "allocating pinned memory");
    CARAT_CHECK(status());
    pinned_.emplace(static_cast<uint8_t*>(memory), bytes);
    return memory;
  }
  void release_host(void* memory) override {
    pinned_.erase(static_cast<uint8_t*>(memory));
    if (!failure_.empty()) return;
    api_.cuCtxSetCurrent(context_);
    api_.cuMemFreeHost(memory);
  }
  // A module is loaded with the first of its kernels that is asked for.
  Result<Kernel> find(std::string_view name) override {
    const auto at = module_of_.find(name);
    if (at == module_of_.end()) {
      return Error{ErrorCode::kUnsupported, fmt::format("this program was built without the kernel {}", name)};
    }
    Module& module = modules_[at->second];
    if (module.loaded == nullptr) {
      CARAT_CHECK(checked(api_.cuModuleLoadData(&module.loaded, module.data), "loading the kernels"));
    }
    CuFunction* function = nullptr;
    const std::string key(name);
    CARAT_CHECK(checked(api_.cuModuleGetFunction(&function, module.loaded, key.c_str()), "finding a kernel"));
    return static_cast<Kernel>(function);
  }

  void upload(void* to, const void* from, size_t bytes) override {
    if (bytes != 0) note(api_.cuMemcpyHtoDAsync_v2(pointer(to), from, bytes, stream_), "copying to the device");
  }
  void download(void* to, const void* from, size_t bytes) override {
    // The driver would wait here for all that was asked for before, without a limit.
    if (bytes == 0 || (!is_pinned(to) && !finish().ok())) return;
    note(api_.cuMemcpyDtoHAsync_v2(to, pointer(from), bytes, stream_), "copying from the device");
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
    if (!failure_.empty()) return;
    CuEvent*& event = events_[static_cast<size_t>(index)];
    if (event == nullptr) note(api_.cuEventCreate(&event, 0), "marking the time");
    note(api_.cuEventRecord(event, stream_), "marking the time");
    marks_.push_back(event);
  }

  Status finish() override {
    CuEvent* end = events_.back();
    if (failure_.empty()) note(api_.cuEventRecord(end, stream_), "waiting");
    wait(end, {});
    marks_.clear();
    return status();
  }
  Status wait_for(int mark, const std::function<void()>& meanwhile) override {
    CuEvent* end = events_[static_cast<size_t>(mark)];
    wait(end, meanwhile);
    const auto at = std::find(marks_.begin(), marks_.end(), end);
    if (at != marks_.end()) marks_.erase(marks_.begin(), at + 1);
    return status();
  }
  double silent_seconds() const override {
    return std::chrono::duration<double>(Clock::now() - answered_.load()).count();
  }
  double seconds_between(int first, int second) override {
    float milliseconds = 0;
    api_.cuEventElapsedTime(&milliseconds, events_[static_cast<size_t>(first)], events_[static_cast<size_t>(second)]);
    return milliseconds * 1e-3;
  }

 private:
  static CuPointer pointer(const void* p) { return reinterpret_cast<CuPointer>(p); }

  void wait(CuEvent* end, const std::function<void()>& meanwhile) {
    const auto begin = Clock::now();
    while (failure_.empty()) {
      const CuResult result = api_.cuEventQuery(end);
      if (result == 0) break;
      if (result != kCuNotReady) {
        note(result, "computing");
        break;
      }
      if (meanwhile) meanwhile();
      if (Clock::now() - begin < kSpin) continue;
      if (!marks_.empty() && api_.cuEventQuery(marks_.front()) == 0) {
        marks_.pop_front();
        answered_ = Clock::now();
      } else if (Clock::now() - std::max(begin, answered_.load()) > std::chrono::duration<double>(patience_)) {
        fail(fmt::format("{}: a step hangs: nothing of it has ended for {:.3g} seconds", facts_.name, patience_));
      } else {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
    answered_ = Clock::now();
  }
  bool is_pinned(const void* memory) const {
    const auto* byte = static_cast<const uint8_t*>(memory);
    const auto after = pinned_.upper_bound(byte);
    return after != pinned_.begin() && byte < std::prev(after)->first + std::prev(after)->second;
  }
  Status checked(CuResult result, std::string_view what) const {
    if (result == 0) return {};
    return Error{ErrorCode::kIo, fmt::format("{}: {}: {}", facts_.name, what, text_of(api_, result))};
  }
  Status status() const {
    if (failure_.empty()) return {};
    return Error{ErrorCode::kIo, failure_};
  }
  void note(CuResult result, std::string_view what) {
    answered_ = Clock::now();
    if (result != 0) fail(fmt::format("{}: {}: {}", facts_.name, what, text_of(api_, result)));
  }
  void fail(std::string message) {
    if (!failure_.empty()) return;
    failure_ = std::move(message);
    lose_device(failure_);
  }

  struct Module {
    const unsigned char* data;
    CuModule* loaded = nullptr;
  };

  const DriverApi& api_;
  const DeviceFacts facts_;
  const int device_;
  const double patience_;
  CuContext* context_ = nullptr;
  CuStream* stream_ = nullptr;
  std::array<CuEvent*, kMarks + 1> events_{};
  std::deque<CuEvent*> marks_;  // that nobody has seen passed
  std::vector<Module> modules_;
  std::map<std::string_view, size_t> module_of_;  // by kernel
  std::unordered_map<Kernel, size_t> shared_bytes_;
  std::map<const uint8_t*, size_t> pinned_;
  std::string failure_;  // sticky
  std::atomic<Clock::time_point> answered_{Clock::now()};
};

}  // namespace

Result<DeviceFacts> describe_driver_device(const DriverApi& api, std::span<const Cubin> kernels) {
  CARAT_TRY(const Found found, find_device(api, kernels));
  return found.facts;
}

Result<std::unique_ptr<Device>> open_driver_device(const DriverApi& api, std::span<const Cubin> kernels,
                                                   double patience_seconds) {
  CARAT_TRY(const Found found, find_device(api, kernels));
  auto device = std::make_unique<DriverDevice>(api, found, patience_seconds);
  CARAT_CHECK(device->open(found.arch, kernels));
  return std::unique_ptr<Device>(std::move(device));
}

}  // namespace carat::cuda
