// How fast a device reads its memory: the unit that everything else is measured in.
#include <algorithm>

#include "backend/cuda/device_memory.h"
#include "backend/cuda/params.h"

namespace carat::cuda {

Result<double> read_bandwidth(Device& device) {
  constexpr size_t kMost = size_t{1} << 30, kLeast = size_t{64} << 20;
  constexpr int kTimes = 8;
  device.enter();
  const DeviceFacts facts = device.facts();
  CARAT_TRY(const Device::Kernel kernel, device.find("read_memory"));
  const size_t bytes = std::clamp<size_t>(facts.free_bytes / 4, kLeast, kMost) / 16 * 16;
  CARAT_TRY(const DeviceMemory memory, DeviceMemory::allocate(device, bytes + 256, "measuring its speed"));
  device.fill(memory.data(), 0, memory.bytes());
  Launch launch;
  launch.threads = 256;
  launch.grid[0] = static_cast<uint32_t>(8 * facts.multiprocessors);
  const ReadParams params{memory.data(), static_cast<int64_t>(bytes / 16),
                          reinterpret_cast<uint32_t*>(memory.data() + bytes)};
  for (int i = 0; i <= kTimes; ++i) {
    device.mark(i);
    if (i < kTimes) device.launch(kernel, launch, &params, sizeof params);
  }
  CARAT_CHECK(device.finish());
  double least = device.seconds_between(0, 1);
  for (int i = 1; i < kTimes; ++i) least = std::min(least, device.seconds_between(i, i + 1));
  return static_cast<double>(bytes) / least;
}

}  // namespace carat::cuda
