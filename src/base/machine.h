// What kind of machine this is: its cores and clusters, what its power mode and its heat leave of them, and its memory.
// Read from /proc, /sys, the device tree and nvpmodel's files, under a root that tests set to a recorded tree. What no
// file says is zero, empty or none: nothing here fails.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace carat {

// A physical core that is online and that this process may run on.
struct Core {
  std::vector<int> threads;   // its hardware threads that are allowed, by the system's numbers
  int cluster = 0;            // cores that share a last-level cache, counted from 0
  int capacity = 1024;        // how quick it is; the quickest of the machine has 1024
  uint64_t max_khz = 0;       // as a power mode, a governor or heat allows it now
  uint64_t hardware_khz = 0;  // as the hardware has it
};

// A power mode of NVIDIA's nvpmodel (Jetson).
struct PowerMode {
  int id = 0;
  std::string name;      // "15W", "MAXN_SUPER"
  int cores = 0;         // that it leaves online
  uint64_t max_khz = 0;  // of the slowest cluster; 0: no limit
};

struct ThermalZone {
  std::string name;                 // "cpu-thermal"
  double celsius = 0;               // now
  std::optional<double> throttles;  // where the system starts to slow down (the lowest passive trip point)
};

struct MachineMemory {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;  // the kernel's estimate, without swap
  uint64_t swap_free_bytes = 0;  // on disks: what zram holds lies in memory all the same
  uint64_t zram_bytes = 0;       // of all zram devices that are swapped to
  uint64_t zram_used_bytes = 0;  // written to them, before compression
  bool shared_with_gpu = false;  // the GPU's memory is this memory (Jetson): what it takes is missing here
  std::string huge_pages;        // transparent ones: "always", "madvise", "never"
};

struct Machine {
  std::string model;      // of the board: "NVIDIA Jetson Orin Nano Developer Kit"; of a PC, its maker and name
  std::string processor;  // "AMD Ryzen ...", "Cortex-A78AE"
  std::vector<std::string> features;  // of the first processor, in the kernel's words: "asimddp", "avx512_vnni"
  std::vector<int> offline;           // hardware threads that are there and switched off
  std::vector<Core> cores;            // usable_core_list()
  std::optional<PowerMode> power_mode;
  std::vector<PowerMode> power_modes;  // all that there are
  std::vector<ThermalZone> thermal;
  MachineMemory memory;
};

Machine read_machine(const std::filesystem::path& root = "/");
MachineMemory read_memory(const std::filesystem::path& root = "/");

// Of two power modes: whether the first leaves the processor more (cores first, then frequency).
bool stronger(const PowerMode& a, const PowerMode& b);

// The physical cores that are online and in this process's affinity mask: big ones first, then by number. At least one.
std::vector<Core> usable_core_list(const std::filesystem::path& root = "/");

// The hardware threads that `count` threads of work should stay on, where cores differ and not all are needed: those of
// the biggest cores. Empty where it does not matter.
std::vector<int> preferred_threads(int count, const std::filesystem::path& root = "/");

// Keeps the calling thread on these hardware threads; empty, or refused by the system: it runs where it ran.
void stay_on(const std::vector<int>& threads);

}  // namespace carat
