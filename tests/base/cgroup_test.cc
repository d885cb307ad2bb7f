// Recorded /proc and /sys of machines and containers: what limits a process.
#include "base/cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <string>

#include "base/topology.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

class CgroupTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(root_); }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::map<std::string, std::string>& files) const {
    for (const auto& [name, text] : files) {
      fs::create_directories((root_ / name).parent_path());
      std::ofstream(root_ / name) << text;
    }
  }
  const fs::path root_ = fs::temp_directory_path() / ("carat-cgroup-" + std::to_string(getpid()));
};

TEST_F(CgroupTest, NothingIsLimitedWhereNothingIsMounted) {
  EXPECT_FALSE(cgroup_memory(root_));
  EXPECT_FALSE(cgroup_cpus(root_));
  write({{"proc/self/cgroup", "0::/\n"},
         {"sys/fs/cgroup/memory.max", "max\n"},
         {"sys/fs/cgroup/cpu.max", "max 100000\n"}});
  EXPECT_FALSE(cgroup_memory(root_));
  EXPECT_FALSE(cgroup_cpus(root_));
}

TEST_F(CgroupTest, VersionTwoTheTightestOfAllAbove) {
  write({{"proc/self/cgroup", "0::/system.slice/carat.service\n"},
         {"sys/fs/cgroup/system.slice/carat.service/memory.max", "max\n"},
         {"sys/fs/cgroup/system.slice/carat.service/cpu.max", "350000 100000\n"},
         {"sys/fs/cgroup/system.slice/memory.max", "2147483648\n"},
         {"sys/fs/cgroup/system.slice/memory.current", "1073741824\n"},
         {"sys/fs/cgroup/system.slice/memory.stat", "anon 5\ninactive_file 536870912\n"},
         {"sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n"},
         {"sys/fs/cgroup/memory.max", "1900000000\n"}});  // of which nothing is used
  ASSERT_TRUE(cgroup_memory(root_));
  EXPECT_EQ(cgroup_memory(root_)->limit_bytes, 2147483648u);
  EXPECT_EQ(cgroup_memory(root_)->used_bytes, 536870912u);
  EXPECT_EQ(cgroup_cpus(root_).value(), 1.5);
}

TEST_F(CgroupTest, VersionOne) {
  write({{"proc/self/cgroup", "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/\n"},
         {"sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "1000000000\n"},
         {"sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes", "300000000\n"},
         {"sys/fs/cgroup/memory/docker/1/memory.stat", "cache 1\ntotal_inactive_file 100000000\n"},
         {"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
         {"sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "-1\n"},
         {"sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000\n"},
         {"sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us", "50000\n"},
         {"sys/fs/cgroup/cpu/docker/cpu.cfs_period_us", "100000\n"}});
  EXPECT_EQ(cgroup_memory(root_).value().limit_bytes, 1000000000u);
  EXPECT_EQ(cgroup_memory(root_).value().used_bytes, 200000000u);
  EXPECT_EQ(cgroup_cpus(root_).value(), 0.5);
}

TEST_F(CgroupTest, UsableMemoryIsTheLeastOfMachineAndContainer) {
  write({{"proc/meminfo", "MemTotal: 8000 kB\nMemFree: 100 kB\nMemAvailable: 4000 kB\nSwapFree: 1000 kB\n"}});
  EXPECT_EQ(usable_memory_bytes(root_), 5000u * 1024);
  write({{"proc/self/cgroup", "0::/\n"},
         {"sys/fs/cgroup/memory.max", "3000000\n"},
         {"sys/fs/cgroup/memory.current", "1000000\n"}});
  EXPECT_EQ(usable_memory_bytes(root_), 2000000u);
  EXPECT_EQ(usable_without_swap_bytes(root_), 2000000u);
  write({{"sys/fs/cgroup/memory.current", "4000000\n"}});
  EXPECT_EQ(usable_memory_bytes(root_), 0u);
}

}  // namespace
}  // namespace carat
