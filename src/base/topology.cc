#include "base/topology.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/cgroup.h"
#include "base/machine.h"
#include "base/sys_files.h"

namespace carat {
namespace {

uint64_t status_bytes(const char* key) {
  return static_cast<uint64_t>(leading_number(field_of("/proc/self/status", key)).value_or(0)) * 1024;
}

uint64_t within_cgroup(uint64_t bytes, const std::filesystem::path& root) {
  const std::optional<CgroupMemory> cgroup = cgroup_memory(root);
  if (!cgroup) return bytes;
  return std::min(bytes, cgroup->limit_bytes - std::min(cgroup->limit_bytes, cgroup->used_bytes));
}

}  // namespace

int usable_cores(const std::filesystem::path& root) {
  const auto cores = static_cast<int>(usable_core_list(root).size());
  const std::optional<double> quota = cgroup_cpus(root);
  return quota ? std::clamp(static_cast<int>(std::floor(*quota)), 1, cores) : cores;
}

uint64_t usable_memory_bytes(const std::filesystem::path& root) {
  const MachineMemory memory = read_memory(root);
  return within_cgroup(memory.available_bytes + memory.swap_free_bytes, root);
}
uint64_t usable_without_swap_bytes(const std::filesystem::path& root) {
  return within_cgroup(read_memory(root).available_bytes, root);
}

uint64_t peak_resident_bytes() { return status_bytes("VmHWM:"); }
void forget_peak_resident() {
  const int file = ::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  [[maybe_unused]] const auto written = ::write(file, "5", 1);
  ::close(file);
}
uint64_t resident_bytes() { return status_bytes("VmRSS:"); }

}  // namespace carat
