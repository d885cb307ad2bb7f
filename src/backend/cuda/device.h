// What the backend needs of a device: memory, copies, kernels by name, in the order of one stream. The driver implements it
// (driver.cc), and so does the emulator of the tests.
//
// A failure is remembered: everything after it does nothing, and status() says what it was. So a forward pass is straight
// code, and its error is looked at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace carat::cuda {

// A device that answers nothing for so long hangs.
inline constexpr double kPatienceSeconds = 60;

struct DeviceFacts {
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int major = 0, minor = 0;
  int multiprocessors = 0;
  size_t shared_bytes = 0;  // that a block may have
  uint64_t memory_bytes = 0, free_bytes = 0;
  bool shares_memory = false;  // with the processor
  double patience_seconds = kPatienceSeconds;
};

struct Launch {
  uint32_t grid[3] = {1, 1, 1};
  uint32_t threads = 32;
  size_t shared_bytes = 0;
  bool together = false;  // every block runs at once: they wait for each other
  bool early = false;     // may begin before what is before it has ended, for which it waits itself (previous_wait)
};

class Device {
 public:
  using Kernel = const void*;
  virtual ~Device() = default;

  virtual DeviceFacts facts() const = 0;
  // Makes the calling thread one that may use the device.
  virtual void enter() = 0;
  // Errors: kOutOfMemory, saying what the memory was for.
  virtual Result<void*> allocate(size_t bytes, std::string_view what) = 0;
  virtual void release(void* memory) = 0;
  // Memory of the host that copies reach without a detour.
  virtual Result<void*> allocate_host(size_t bytes) = 0;
  virtual void release_host(void* memory) = 0;
  // Errors: kUnsupported where the program was built without this kernel for this device.
  virtual Result<Kernel> find(std::string_view name) = 0;

  // In the order of the stream, done later:
  virtual void upload(void* to, const void* from, size_t bytes) = 0;    // `from` stays as it is until finish()
  virtual void download(void* to, const void* from, size_t bytes) = 0;  // `to` is there after finish()
  virtual void fill(void* to, uint8_t byte, size_t bytes) = 0;
  virtual void launch(Kernel kernel, const Launch& launch, const void* params, size_t params_bytes) = 0;
  virtual void mark(int index) = 0;  // a point in time, 0 <= index < 1024

  // Waits for all of it. Errors: whatever failed since the device was opened (lose_device() has been told of it); no mark
  // was passed for a minute.
  virtual Status finish() = 0;
  // The same for what came before a mark; `meanwhile` is called again and again, and may ask for more.
  virtual Status wait_for(int mark, const std::function<void()>& meanwhile) = 0;
  // Seconds since it last answered a call, or passed a mark that finish() waits for. Any thread.
  virtual double silent_seconds() const = 0;
  virtual double seconds_between(int first_mark, int second_mark) = 0;  // after finish()
};

// Bytes a second of a kernel that only reads. Errors: kOutOfMemory.
Result<double> read_bandwidth(Device& device);

// The machine's first device that this build has kernels for. Errors: kUnsupported, saying what is missing: the driver, a
// device, kernels for its architecture.
Result<std::unique_ptr<Device>> open_device();

}  // namespace carat::cuda
