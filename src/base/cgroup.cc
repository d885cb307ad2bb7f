#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace carat {
namespace {

namespace fs = std::filesystem;

// A file that holds a number; none for "max", for what is not there, and for version 1's "no limit" (2^63, in pages).
std::optional<uint64_t> number_in(const fs::path& path) {
  std::ifstream file(path);
  uint64_t value = 0;
  if (!(file >> value) || value >= (uint64_t{1} << 62)) return std::nullopt;
  return value;
}

// "name value" lines.
uint64_t field_in(const fs::path& path, const std::string& name) {
  std::ifstream file(path);
  std::string key;
  uint64_t value = 0;
  while (file >> key >> value) {
    if (key == name) return value;
  }
  return 0;
}

// Whether "cpu,cpuacct" names it; version 2 ("") is the line that names none.
bool lists(const std::string& names, const std::string& controller) {
  if (controller.empty()) return names.empty();
  std::istringstream all(names);
  std::string name;
  while (std::getline(all, name, ',')) {
    if (name == controller) return true;
  }
  return false;
}

// The folders of a controller ("" for version 2), from this process's own up to the top of what is mounted here.
std::vector<fs::path> folders(const fs::path& root, const std::string& controller) {
  std::ifstream file(root / "proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {  // "4:memory:/docker/1234", "0::/user.slice"
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    if (!lists(names, controller)) continue;
    fs::path top = root / "sys/fs/cgroup";
    if (!controller.empty()) top /= controller;
    std::vector<fs::path> found;
    for (fs::path below = fs::path(line.substr(second + 1)).relative_path(); !below.empty();
         below = below.parent_path()) {
      found.push_back(top / below);
    }
    found.push_back(top);
    return found;
  }
  return {};
}

uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

void keep_tightest(std::optional<CgroupMemory>& tightest, std::optional<uint64_t> limit, uint64_t used) {
  if (!limit) return;
  if (tightest && less(tightest->limit_bytes, tightest->used_bytes) <= less(*limit, used)) return;
  tightest = {*limit, used};
}

void keep_least(std::optional<double>& least, double quota, double period) {
  if (quota <= 0 || period <= 0) return;
  least = std::min(least.value_or(quota / period), quota / period);
}

}  // namespace

std::optional<CgroupMemory> cgroup_memory(const fs::path& root) {
  std::optional<CgroupMemory> tightest;
  for (const fs::path& folder : folders(root, "")) {
    const uint64_t used = number_in(folder / "memory.current").value_or(0);
    keep_tightest(tightest, number_in(folder / "memory.max"),
                  less(used, field_in(folder / "memory.stat", "inactive_file")));
  }
  for (const fs::path& folder : folders(root, "memory")) {
    const uint64_t used = number_in(folder / "memory.usage_in_bytes").value_or(0);
    keep_tightest(tightest, number_in(folder / "memory.limit_in_bytes"),
                  less(used, field_in(folder / "memory.stat", "total_inactive_file")));
  }
  return tightest;
}

std::optional<double> cgroup_cpus(const fs::path& root) {
  std::optional<double> least;
  for (const fs::path& folder : folders(root, "")) {
    std::ifstream file(folder / "cpu.max");  // "QUOTA PERIOD" in microseconds, or "max PERIOD"
    double quota = 0;
    double period = 0;
    if (file >> quota >> period) keep_least(least, quota, period);
  }
  for (const fs::path& folder : folders(root, "cpu")) {
    std::ifstream quota_file(folder / "cpu.cfs_quota_us");
    std::ifstream period_file(folder / "cpu.cfs_period_us");
    double quota = 0;
    double period = 0;
    if (quota_file >> quota && period_file >> period) keep_least(least, quota, period);
  }
  return least;
}

}  // namespace carat
