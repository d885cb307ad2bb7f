#include "base/machine.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "base/sys_files.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kKiB = 1024;
constexpr int kMostZones = 64;

fs::path cpu_folder(const fs::path& root, int thread) {
  return root / "sys/devices/system/cpu" / ("cpu" + std::to_string(thread));
}

uint64_t kilobytes(const std::string& text) {
  return static_cast<uint64_t>(std::max<int64_t>(0, leading_number(text).value_or(0))) * kKiB;
}

bool contains(const std::vector<int>& list, int number) {
  return std::find(list.begin(), list.end(), number) != list.end();
}

// This process's affinity mask: from the system, or as a recorded tree has it.
std::vector<int> allowed_threads(const fs::path& root) {
  if (root != "/") return list_of(field_of(root / "proc/self/status", "Cpus_allowed_list"));
  std::vector<int> threads;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return threads;
  for (int thread = 0; thread < CPU_SETSIZE; ++thread) {
    if (CPU_ISSET(thread, &mask)) threads.push_back(thread);
  }
  return threads;
}

uint64_t kilohertz(const fs::path& file) {
  return static_cast<uint64_t>(std::max<int64_t>(0, number_of(file).value_or(0)));
}

// What tells cores of one last-level cache from those of another.
std::string cluster_name(const fs::path& cpu) {
  std::string name;
  for (int index = 0; index < 8; ++index) {
    const fs::path cache = cpu / "cache" / ("index" + std::to_string(index));
    const std::string shared = line_of(cache / "shared_cpu_list");
    if (!shared.empty() && number_of(cache / "level").value_or(0) >= 2) name = shared;
  }
  if (name.empty()) name = line_of(cpu / "topology/cluster_cpus_list");
  if (name.empty()) name = line_of(cpu / "topology/package_cpus_list");
  if (name.empty()) name = line_of(cpu / "topology/physical_package_id");
  return name;
}

// Arm's names of the cores that we may meet; /proc/cpuinfo has numbers only.
std::string arm_part(int64_t implementer, int64_t part) {
  const std::map<std::pair<int64_t, int64_t>, const char*> names = {
      {{0x41, 0xd03}, "Cortex-A53"},   {{0x41, 0xd05}, "Cortex-A55"},  {{0x41, 0xd07}, "Cortex-A57"},
      {{0x41, 0xd08}, "Cortex-A72"},   {{0x41, 0xd0b}, "Cortex-A76"},  {{0x41, 0xd0c}, "Neoverse-N1"},
      {{0x41, 0xd40}, "Neoverse-V1"},  {{0x41, 0xd41}, "Cortex-A78"},  {{0x41, 0xd42}, "Cortex-A78AE"},
      {{0x41, 0xd49}, "Neoverse-N2"},  {{0x41, 0xd4f}, "Neoverse-V2"}, {{0x41, 0xd83}, "Neoverse-V3AE"},
      {{0x41, 0xd84}, "Neoverse-V3"},  {{0x4e, 0x003}, "Denver 2"},    {{0x4e, 0x004}, "Carmel"},
      {{0x61, 0x000}, "Apple silicon"}};
  const auto found = names.find({implementer, part});
  return found == names.end() ? std::string() : found->second;
}

int64_t hexadecimal(const std::string& text) {
  int64_t value = 0;
  std::istringstream(text) >> std::hex >> value;
  return value;
}

void read_processor(const fs::path& root, Machine& machine) {
  const fs::path file = root / "proc/cpuinfo";
  machine.processor = field_of(file, "model name");
  if (const std::string part = field_of(file, "CPU part"); !part.empty()) {
    const std::string known = arm_part(hexadecimal(field_of(file, "CPU implementer")), hexadecimal(part));
    if (!known.empty()) machine.processor = known;
    if (machine.processor.empty()) machine.processor = "Arm part " + part;
  }
  std::istringstream features(field_of(file, "flags") + field_of(file, "Features"));
  for (std::string feature; features >> feature;) machine.features.push_back(feature);
}

std::string board_name(const fs::path& root) {
  for (const char* tree : {"proc/device-tree/model", "sys/firmware/devicetree/base/model"}) {
    if (std::string model = line_of(root / tree); !model.empty()) return model;
  }
  const fs::path dmi = root / "sys/devices/virtual/dmi/id";
  const std::string maker = line_of(dmi / "sys_vendor");
  const std::string name = line_of(dmi / "product_name");
  return maker.empty() || name.empty() ? maker + name : maker + " " + name;
}

// A Tegra: the device tree's "compatible" is a list of strings, each ended by NUL.
bool is_tegra(const fs::path& root) {
  for (const char* tree : {"proc/device-tree/compatible", "sys/firmware/devicetree/base/compatible"}) {
    std::ifstream file(root / tree);
    std::string all;
    std::getline(file, all);
    if (all.find("nvidia,tegra") != std::string::npos) return true;
  }
  return false;
}

// nvpmodel.conf: "< POWER_MODEL ID=0 NAME=15W >", then "CPU_ONLINE CORE_4 0", "CPU_A78_0 MAX_FREQ 1497600" (-1: no limit).
std::vector<PowerMode> power_modes(const fs::path& root) {
  std::vector<PowerMode> modes;
  std::ifstream file(root / "etc/nvpmodel.conf");
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first, second, third;
    words >> first >> second >> third;
    if (first == "<") {
      inside = second == "POWER_MODEL";
      if (!inside) continue;
      PowerMode mode;
      mode.id = static_cast<int>(leading_number(third.substr(std::min(third.size(), third.find('=') + 1))).value_or(0));
      if (const size_t name = line.find("NAME="); name != std::string::npos) {
        std::istringstream(line.substr(name + 5)) >> mode.name;
      }
      modes.push_back(mode);
    } else if (inside && first == "CPU_ONLINE") {
      modes.back().cores += third == "1" ? 1 : 0;
    } else if (inside && first.rfind("CPU_", 0) == 0 && second == "MAX_FREQ") {
      const int64_t khz = leading_number(third).value_or(-1);
      uint64_t& most = modes.back().max_khz;
      if (khz > 0) most = most == 0 ? static_cast<uint64_t>(khz) : std::min(most, static_cast<uint64_t>(khz));
    }
  }
  return modes;
}

// What nvpmodel set last: "pmode:0002 fmode:quiet".
std::optional<int> power_mode_id(const fs::path& root) {
  const std::string line = line_of(root / "var/lib/nvpmodel/status");
  if (line.rfind("pmode:", 0) != 0) return std::nullopt;
  const std::optional<int64_t> id = leading_number(line.substr(6));
  return id ? std::optional<int>(static_cast<int>(*id)) : std::nullopt;
}

std::vector<ThermalZone> thermal_zones(const fs::path& root) {
  std::vector<ThermalZone> zones;
  for (int index = 0; index < kMostZones; ++index) {
    const fs::path folder = root / "sys/class/thermal" / ("thermal_zone" + std::to_string(index));
    const std::string type = line_of(folder / "type");
    const std::optional<int64_t> temperature = number_of(folder / "temp");
    if (type.empty() || !temperature) continue;  // some zones cannot be read while what they measure is off
    ThermalZone zone{type, static_cast<double>(*temperature) / 1000, std::nullopt};
    for (int trip = 0; trip < 16; ++trip) {
      const std::string prefix = "trip_point_" + std::to_string(trip);
      if (line_of(folder / (prefix + "_type")) != "passive") continue;
      const std::optional<int64_t> at = number_of(folder / (prefix + "_temp"));
      if (!at || *at <= 0) continue;
      const double celsius = static_cast<double>(*at) / 1000;
      zone.throttles = std::min(zone.throttles.value_or(celsius), celsius);
    }
    zones.push_back(zone);
  }
  return zones;
}

}  // namespace

bool stronger(const PowerMode& a, const PowerMode& b) {
  if (a.cores != b.cores) return a.cores > b.cores;
  const auto limit = [](const PowerMode& mode) { return mode.max_khz == 0 ? UINT64_MAX : mode.max_khz; };
  return limit(a) > limit(b);
}

std::vector<Core> usable_core_list(const fs::path& root) {
  const std::vector<int> online = list_of(line_of(root / "sys/devices/system/cpu/online"));
  std::vector<Core> cores;
  std::map<std::string, size_t> by_siblings;
  std::map<std::string, int> clusters;
  for (const int thread : allowed_threads(root)) {
    if (!online.empty() && !contains(online, thread)) continue;
    const fs::path cpu = cpu_folder(root, thread);
    std::string siblings = line_of(cpu / "topology/thread_siblings_list");
    if (siblings.empty()) siblings = std::to_string(thread);
    const auto [known, is_new] = by_siblings.emplace(siblings, cores.size());
    if (!is_new) {
      cores[known->second].threads.push_back(thread);
      continue;
    }
    Core core;
    core.threads = {thread};
    core.cluster = clusters.emplace(cluster_name(cpu), static_cast<int>(clusters.size())).first->second;
    core.capacity = static_cast<int>(number_of(cpu / "cpu_capacity").value_or(0));
    core.hardware_khz = kilohertz(cpu / "cpufreq/cpuinfo_max_freq");
    core.max_khz = kilohertz(cpu / "cpufreq/scaling_max_freq");
    cores.push_back(std::move(core));
  }
  if (cores.empty()) cores.push_back({{0}, 0, 1024, 0, 0});

  // Where the system has no capacities (PCs), frequencies stand for them.
  uint64_t quickest = 0;
  for (const Core& core : cores) quickest = std::max(quickest, core.hardware_khz);
  for (Core& core : cores) {
    if (core.capacity > 0) continue;
    core.capacity = quickest == 0 ? 1024 : static_cast<int>(core.hardware_khz * 1024 / quickest);
  }
  std::stable_sort(cores.begin(), cores.end(), [](const Core& a, const Core& b) { return a.capacity > b.capacity; });
  return cores;
}

std::vector<int> preferred_threads(int count, const fs::path& root) {
  const std::vector<Core> cores = usable_core_list(root);
  const auto wanted = static_cast<size_t>(std::max(count, 1));
  // A tenth is what cores of one kind differ by (the favoured cores of PCs).
  if (wanted >= cores.size() || cores.back().capacity * 10 >= cores.front().capacity * 9) return {};
  std::vector<int> threads;
  for (size_t i = 0; i < wanted; ++i) threads.insert(threads.end(), cores[i].threads.begin(), cores[i].threads.end());
  std::sort(threads.begin(), threads.end());
  return threads;
}

void stay_on(const std::vector<int>& threads) {
  if (threads.empty()) return;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (const int thread : threads) {
    if (thread < CPU_SETSIZE) CPU_SET(thread, &mask);
  }
  sched_setaffinity(0, sizeof mask, &mask);
}

MachineMemory read_memory(const fs::path& root) {
  const fs::path meminfo = root / "proc/meminfo";
  MachineMemory memory;
  memory.total_bytes = kilobytes(field_of(meminfo, "MemTotal"));
  memory.available_bytes = kilobytes(field_of(meminfo, "MemAvailable"));
  uint64_t zram_free = 0;
  std::ifstream swaps(root / "proc/swaps");  // Filename Type Size Used Priority, in KiB
  for (std::string line; std::getline(swaps, line);) {
    std::istringstream words(line);
    std::string file, type;
    uint64_t size = 0;
    uint64_t used = 0;
    if (!(words >> file >> type >> size >> used) || file.rfind("/dev/zram", 0) != 0) continue;
    memory.zram_bytes += size * kKiB;
    memory.zram_used_bytes += used * kKiB;
    zram_free += (size - std::min(size, used)) * kKiB;
  }
  const uint64_t swap_free = kilobytes(field_of(meminfo, "SwapFree"));
  memory.swap_free_bytes = swap_free - std::min(swap_free, zram_free);
  memory.shared_with_gpu = is_tegra(root);
  // "always [madvise] never"
  const std::string choices = line_of(root / "sys/kernel/mm/transparent_hugepage/enabled");
  const size_t chosen = choices.find('[');
  if (chosen != std::string::npos) {
    memory.huge_pages = choices.substr(chosen + 1, choices.find(']', chosen) - chosen - 1);
  }
  return memory;
}

Machine read_machine(const fs::path& root) {
  Machine machine;
  machine.model = board_name(root);
  read_processor(root, machine);
  const std::vector<int> online = list_of(line_of(root / "sys/devices/system/cpu/online"));
  for (const int thread : list_of(line_of(root / "sys/devices/system/cpu/present"))) {
    if (!contains(online, thread)) machine.offline.push_back(thread);
  }
  machine.cores = usable_core_list(root);
  machine.power_modes = power_modes(root);
  if (const std::optional<int> id = power_mode_id(root)) {
    for (const PowerMode& mode : machine.power_modes) {
      if (mode.id == *id) machine.power_mode = mode;
    }
  }
  machine.thermal = thermal_zones(root);
  machine.memory = read_memory(root);
  return machine;
}

}  // namespace carat
