// Recorded machines: their /proc, /sys, device tree and nvpmodel's files, cut to what is read.
#include "base/machine.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <thread>

#include "base/topology.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

class MachineTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(root_); }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::map<std::string, std::string>& files) const {
    for (const auto& [name, text] : files) {
      fs::create_directories((root_ / name).parent_path());
      std::ofstream(root_ / name) << text;
    }
  }
  struct Cpu {
    std::string siblings, cluster;  // lists of hardware threads
    int capacity;                   // 0: the system has none
    int hardware_khz, max_khz;
  };
  void write_cpu(int thread, const Cpu& cpu) const {
    const std::string folder = "sys/devices/system/cpu/cpu" + std::to_string(thread);
    write({{folder + "/topology/thread_siblings_list", cpu.siblings + "\n"},
           {folder + "/cache/index0/level", "1\n"},
           {folder + "/cache/index0/shared_cpu_list", cpu.siblings + "\n"},
           {folder + "/cache/index3/level", "3\n"},
           {folder + "/cache/index3/shared_cpu_list", cpu.cluster + "\n"},
           {folder + "/cpufreq/cpuinfo_max_freq", std::to_string(cpu.hardware_khz) + "\n"},
           {folder + "/cpufreq/scaling_max_freq", std::to_string(cpu.max_khz) + "\n"}});
    if (cpu.capacity > 0) write({{folder + "/cpu_capacity", std::to_string(cpu.capacity) + "\n"}});
  }

  // A Jetson Orin Nano with JetPack 6 in its 7 W mode: four of six cores are online, in two clusters.
  void write_orin_nano() const {
    write({{"proc/device-tree/model", std::string("NVIDIA Jetson Orin Nano Developer Kit\0", 38)},
           {"proc/device-tree/compatible", std::string("nvidia,p3768-0000+p3767-0003\0nvidia,tegra234\0", 45)},
           {"proc/cpuinfo",
            "processor\t: 0\nBogoMIPS\t: 62.50\nFeatures\t: fp asimd aes atomics fphp asimdhp asimddp\n"
            "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd42\n"},
           {"proc/self/status", "Name:\tcarat\nCpus_allowed:\t3f\nCpus_allowed_list:\t0-5\n"},
           {"proc/meminfo",
            "MemTotal:        7802560 kB\nMemFree: 100 kB\nMemAvailable:    5000000 kB\n"
            "SwapTotal:       3901280 kB\nSwapFree:        3901000 kB\n"},
           {"proc/swaps",
            "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
            "/dev/zram0                              partition\t1950640\t\t280\t\t5\n"
            "/dev/zram1                              partition\t1950640\t\t0\t\t5\n"},
           {"sys/devices/system/cpu/present", "0-5\n"},
           {"sys/devices/system/cpu/online", "0-3\n"},
           {"sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"},
           {"sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"},
           {"sys/class/thermal/thermal_zone0/temp", "61500\n"},
           {"sys/class/thermal/thermal_zone0/trip_point_0_type", "critical\n"},
           {"sys/class/thermal/thermal_zone0/trip_point_0_temp", "104500\n"},
           {"sys/class/thermal/thermal_zone0/trip_point_1_type", "passive\n"},
           {"sys/class/thermal/thermal_zone0/trip_point_1_temp", "99000\n"},
           {"sys/class/thermal/thermal_zone1/type", "gpu-thermal\n"},  // off: it has no temperature
           {"var/lib/nvpmodel/status", "pmode:0001 fmode:quiet\n"},
           {"etc/nvpmodel.conf",
            "< PARAM TYPE=FILE NAME=CPU_ONLINE >\nCORE_0 /sys/devices/system/cpu/cpu0/online\n"
            "< PARAM TYPE=CLOCK NAME=CPU_A78_0 >\nMAX_FREQ /sys/x\n\n"
            "# the mode of the datasheet\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n"
            "CPU_ONLINE CORE_1 1\nCPU_ONLINE CORE_2 1\nCPU_ONLINE CORE_3 1\nCPU_ONLINE CORE_4 1\n"
            "CPU_ONLINE CORE_5 1\nCPU_A78_0 MIN_FREQ 729600\nCPU_A78_0 MAX_FREQ 1497600\n"
            "CPU_A78_1 MAX_FREQ 1497600\nGPU MAX_FREQ 612000000\n"
            "< POWER_MODEL ID=1 NAME=7W >\nCPU_ONLINE CORE_0 1\nCPU_ONLINE CORE_1 1\n"
            "CPU_ONLINE CORE_2 1\nCPU_ONLINE CORE_3 1\nCPU_ONLINE CORE_4 0\nCPU_ONLINE CORE_5 0\n"
            "CPU_A78_0 MAX_FREQ 960000\n"
            "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\nCPU_ONLINE CORE_0 1\nCPU_ONLINE CORE_1 1\n"
            "CPU_ONLINE CORE_2 1\nCPU_ONLINE CORE_3 1\nCPU_ONLINE CORE_4 1\nCPU_ONLINE CORE_5 1\n"
            "CPU_A78_0 MAX_FREQ -1\n\n< PM_CONFIG DEFAULT=0 >\n"}});
    for (int thread = 0; thread < 4; ++thread) {
      write_cpu(thread, {std::to_string(thread), thread < 3 ? "0-2" : "3-5", 1024, 1728000, 960000});
    }
  }

  const fs::path root_ = fs::temp_directory_path() / ("carat-machine-" + std::to_string(getpid()));
};

std::vector<int> first_threads(const std::vector<Core>& cores) {
  std::vector<int> threads;
  for (const Core& core : cores) threads.push_back(core.threads.front());
  return threads;
}

TEST_F(MachineTest, AnOrinNanoInItsSmallestPowerMode) {
  write_orin_nano();
  const Machine machine = read_machine(root_);
  EXPECT_EQ(machine.model, "NVIDIA Jetson Orin Nano Developer Kit");
  EXPECT_EQ(machine.processor, "Cortex-A78AE");
  EXPECT_EQ(machine.features.back(), "asimddp");
  EXPECT_EQ(machine.offline, (std::vector<int>{4, 5}));
  EXPECT_EQ(first_threads(machine.cores), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(machine.cores[2].cluster, 0);
  EXPECT_EQ(machine.cores[3].cluster, 1);
  EXPECT_EQ(machine.cores[3].max_khz, 960000u);
  EXPECT_EQ(machine.cores[3].hardware_khz, 1728000u);
  EXPECT_EQ(usable_cores(root_), 4);
  EXPECT_TRUE(preferred_threads(2, root_).empty());  // all alike

  ASSERT_EQ(machine.power_modes.size(), 3u);
  ASSERT_TRUE(machine.power_mode);
  EXPECT_EQ(machine.power_mode->name, "7W");
  EXPECT_EQ(machine.power_mode->cores, 4);
  EXPECT_EQ(machine.power_mode->max_khz, 960000u);
  EXPECT_EQ(machine.power_modes[0].max_khz, 1497600u);
  EXPECT_EQ(machine.power_modes[2].max_khz, 0u);
  EXPECT_TRUE(stronger(machine.power_modes[2], machine.power_modes[0]));
  EXPECT_TRUE(stronger(machine.power_modes[0], machine.power_modes[1]));
  EXPECT_FALSE(stronger(machine.power_modes[0], machine.power_modes[0]));

  ASSERT_EQ(machine.thermal.size(), 1u);
  EXPECT_EQ(machine.thermal[0].name, "cpu-thermal");
  EXPECT_EQ(machine.thermal[0].celsius, 61.5);
  EXPECT_EQ(machine.thermal[0].throttles, 99.0);
}

// zram is memory: what is swapped to it does not leave.
TEST_F(MachineTest, ZramIsNoRoom) {
  write_orin_nano();
  const MachineMemory memory = read_memory(root_);
  EXPECT_EQ(memory.total_bytes, uint64_t{7802560} * 1024);
  EXPECT_EQ(memory.available_bytes, uint64_t{5000000} * 1024);
  EXPECT_EQ(memory.zram_bytes, uint64_t{3901280} * 1024);
  EXPECT_EQ(memory.zram_used_bytes, uint64_t{280} * 1024);
  EXPECT_EQ(memory.swap_free_bytes, 0u);
  EXPECT_TRUE(memory.shared_with_gpu);
  EXPECT_EQ(memory.huge_pages, "madvise");
  EXPECT_EQ(usable_memory_bytes(root_), uint64_t{5000000} * 1024);

  write({{"proc/meminfo", "MemTotal: 7802560 kB\nMemAvailable: 5000000 kB\nSwapFree: 4901000 kB\n"},
         {"proc/swaps",
          "Filename Type Size Used Priority\n/dev/zram0 partition 3901280 280 5\n"
          "/swapfile file 1000000 0 -2\n"}});
  EXPECT_EQ(read_memory(root_).swap_free_bytes, uint64_t{1000000} * 1024);
  EXPECT_EQ(usable_memory_bytes(root_), uint64_t{6000000} * 1024);
  EXPECT_EQ(usable_without_swap_bytes(root_), uint64_t{5000000} * 1024);
}

// Four little cores before two big ones, as an RK3399 numbers them.
TEST_F(MachineTest, BigCoresComeFirst) {
  write({{"proc/self/status", "Cpus_allowed_list:\t0-5\n"}, {"sys/devices/system/cpu/online", "0-5\n"}});
  for (int thread = 0; thread < 6; ++thread) {
    const bool big = thread >= 4;
    write_cpu(thread, {std::to_string(thread), big ? "4-5" : "0-3", big ? 1024 : 485, big ? 1800000 : 1416000,
                       big ? 1800000 : 1416000});
  }
  EXPECT_EQ(first_threads(usable_core_list(root_)), (std::vector<int>{4, 5, 0, 1, 2, 3}));
  EXPECT_EQ(usable_cores(root_), 6);
  EXPECT_EQ(preferred_threads(2, root_), (std::vector<int>{4, 5}));
  EXPECT_EQ(preferred_threads(3, root_), (std::vector<int>{0, 4, 5}));
  EXPECT_TRUE(preferred_threads(6, root_).empty());  // all of them are needed
  write({{"proc/self/status", "Cpus_allowed_list:\t1-3,5\n"}});
  EXPECT_EQ(first_threads(usable_core_list(root_)), (std::vector<int>{5, 1, 2, 3}));
  EXPECT_EQ(preferred_threads(1, root_), (std::vector<int>{5}));
}

// Two hyperthreads a big core, one a little core, frequencies instead of capacities: a PC of two kinds of cores.
TEST_F(MachineTest, HardwareThreadsCountOnce) {
  write({{"proc/self/status", "Cpus_allowed_list:\t0-5\n"},
         {"sys/devices/system/cpu/online", "0-5\n"},
         {"proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: 12th Gen\nflags\t\t: fpu avx2\n"},
         {"sys/devices/virtual/dmi/id/sys_vendor", "LENOVO\n"},
         {"sys/devices/virtual/dmi/id/product_name", "21CB\n"}});
  for (int thread = 0; thread < 6; ++thread) {
    const bool big = thread < 4;
    const std::string pair = thread < 2 ? "0-1" : "2-3";
    write_cpu(thread, {big ? pair : std::to_string(thread), "0-5", 0, big ? 4700000 : 3500000, 3500000});
  }
  const Machine machine = read_machine(root_);
  ASSERT_EQ(first_threads(machine.cores), (std::vector<int>{0, 2, 4, 5}));
  EXPECT_EQ(machine.cores[0].threads, (std::vector<int>{0, 1}));
  EXPECT_EQ(machine.cores[0].capacity, 1024);
  EXPECT_EQ(machine.cores[3].capacity, 3500000 * 1024LL / 4700000);
  EXPECT_EQ(preferred_threads(2, root_), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(machine.model, "LENOVO 21CB");
  EXPECT_EQ(machine.processor, "12th Gen");
  EXPECT_EQ(machine.features, (std::vector<std::string>{"fpu", "avx2"}));
  EXPECT_FALSE(machine.power_mode);
  EXPECT_FALSE(machine.memory.shared_with_gpu);
}

TEST_F(MachineTest, AQuotaTakesCoresAway) {
  write_orin_nano();
  write({{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", "250000 100000\n"}});
  EXPECT_EQ(usable_cores(root_), 2);
}

TEST_F(MachineTest, NothingIsThereToRead) {
  const Machine machine = read_machine(root_);
  ASSERT_EQ(machine.cores.size(), 1u);
  EXPECT_EQ(machine.cores[0].threads, (std::vector<int>{0}));
  EXPECT_TRUE(machine.model.empty());
  EXPECT_EQ(machine.memory.total_bytes, 0u);
  EXPECT_EQ(usable_cores(root_), 1);
}

TEST_F(MachineTest, FilesThatAreNotWhatTheyShouldBe) {
  write_orin_nano();
  write({{"proc/self/status", "Cpus_allowed_list:\t0-99999999\n"},
         {"proc/meminfo", "MemTotal: much\nMemAvailable: -5 kB\n"},
         {"proc/swaps", "Filename\n/dev/zram0 partition x y\n"},
         {"var/lib/nvpmodel/status", "pmode:\n"},
         {"etc/nvpmodel.conf", "< POWER_MODEL\nCPU_ONLINE\n<\nCPU_A78_0 MAX_FREQ\n"},
         {"sys/class/thermal/thermal_zone0/temp", "hot\n"}});
  const Machine machine = read_machine(root_);
  EXPECT_EQ(machine.cores.size(), 1u);
  EXPECT_EQ(machine.memory.available_bytes, 0u);
  EXPECT_EQ(machine.memory.zram_bytes, 0u);
  EXPECT_FALSE(machine.power_mode);
  EXPECT_TRUE(machine.thermal.empty());
}

TEST(Machine, ThisOneHasCoresAndMemory) {
  const Machine machine = read_machine();
  EXPECT_GE(machine.cores.size(), 1u);
  EXPECT_GT(machine.memory.total_bytes, machine.memory.available_bytes);
  EXPECT_FALSE(machine.features.empty());
}

TEST(Machine, AThreadStaysWhereItIsPut) {
  const int last = usable_core_list().back().threads.back();
  std::thread([&] {
    stay_on({last});
    cpu_set_t mask;
    CPU_ZERO(&mask);
    ASSERT_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
    EXPECT_EQ(CPU_COUNT(&mask), 1);
    EXPECT_TRUE(CPU_ISSET(last, &mask));
  }).join();
}

}  // namespace
}  // namespace carat
