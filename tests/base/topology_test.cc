#include "base/topology.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>
#include <vector>

namespace carat {
namespace {

TEST(Topology, CoresAreAtLeastOneAndAtMostTheThreads) {
  EXPECT_GE(usable_cores(), 1);
  EXPECT_LE(usable_cores(), static_cast<int>(std::thread::hardware_concurrency()));
}

TEST(Topology, PinningStaysInsideTheAffinityMask) {
  std::thread([] {
    cpu_set_t before, after;
    CPU_ZERO(&before);
    CPU_ZERO(&after);
    ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
    for (const int index : {0, 1, 1000}) pin_to_core(index);
    ASSERT_EQ(::sched_getaffinity(0, sizeof after, &after), 0);
    cpu_set_t both;
    CPU_AND(&both, &before, &after);
    EXPECT_TRUE(CPU_EQUAL(&both, &after));
    EXPECT_GE(CPU_COUNT(&after), 1);
  }).join();
}

TEST(Topology, ResidentMemoryGrowsWithWhatIsTouched) {
  constexpr size_t kBytes = 64 << 20;
  const uint64_t before = resident_bytes();
  ASSERT_GT(before, 0u);
  const std::vector<char> touched(kBytes, 1);
  EXPECT_GE(resident_bytes(), before + kBytes / 2);
  EXPECT_GE(peak_resident_bytes(), before + kBytes / 2);
  EXPECT_EQ(touched.back(), 1);
}

}  // namespace
}  // namespace carat
