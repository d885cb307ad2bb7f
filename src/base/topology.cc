#include "base/topology.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/cgroup.h"

namespace carat {
namespace {

// The first hardware thread of every physical core in the affinity mask.
std::vector<int> physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return {0};
  std::vector<int> cores;
  std::set<std::string> seen;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    std::string siblings;
    if (!std::getline(file, siblings)) siblings = std::to_string(cpu);
    if (seen.insert(siblings).second) cores.push_back(cpu);
  }
  if (cores.empty()) cores.push_back(0);
  return cores;
}

uint64_t status_bytes(const std::string& key) {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line)) {
    if (line.compare(0, key.size(), key) == 0) return std::stoull(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

}  // namespace

int usable_cores() {
  const auto cores = static_cast<int>(physical_cores().size());
  const std::optional<double> quota = cgroup_cpus();
  return quota ? std::clamp(static_cast<int>(std::floor(*quota)), 1, cores) : cores;
}

uint64_t usable_memory_bytes(const std::filesystem::path& root) {
  std::ifstream file(root / "proc/meminfo");
  std::string line;
  uint64_t available = 0;
  while (std::getline(file, line)) {
    for (const std::string key : {"MemAvailable:", "SwapFree:"}) {
      if (line.compare(0, key.size(), key) == 0) available += std::stoull(line.substr(key.size())) * 1024;
    }
  }
  const std::optional<CgroupMemory> cgroup = cgroup_memory(root);
  if (!cgroup) return available;
  return std::min(available, cgroup->limit_bytes - std::min(cgroup->limit_bytes, cgroup->used_bytes));
}

uint64_t peak_resident_bytes() { return status_bytes("VmHWM:"); }
uint64_t resident_bytes() { return status_bytes("VmRSS:"); }

}  // namespace carat
