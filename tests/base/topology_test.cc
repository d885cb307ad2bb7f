#include "base/topology.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace carat {
namespace {

TEST(Topology, CoresAreAtLeastOneAndAtMostTheThreads) {
  EXPECT_GE(usable_cores(), 1);
  EXPECT_LE(usable_cores(), static_cast<int>(std::thread::hardware_concurrency()));
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
