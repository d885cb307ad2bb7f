// Which backend it is, and why, for people.
#include <gtest/gtest.h>

#include "backend/backend.h"

namespace carat {
namespace {

TEST(WhereItRuns, NamesWhatRuns) {
  BackendInfo info;
  info.name = "cpu/avx2";
  info.threads = 1;
  EXPECT_EQ(where_it_runs(info, {"cpu"}), "cpu/avx2 with 1 thread");
  info.threads = 6;
  EXPECT_EQ(where_it_runs(info, {"cpu/avx2"}), "cpu/avx2 with 6 threads");
  info.name = "cuda";
  info.device = "Orin";
  info.threads = 8;
  EXPECT_EQ(where_it_runs(info, {"auto"}), "cuda on Orin, 8 multiprocessors");
}

TEST(WhereItRuns, SaysWhyItIsTheProcessorWhereNobodyAskedForIt) {
  const auto gpu = describe_gpu();
  if (gpu.ok()) GTEST_SKIP() << "there is a device: " << *gpu;
  BackendInfo info;
  info.name = "cpu/avx2";
  info.threads = 2;
  EXPECT_EQ(where_it_runs(info, {"auto"}), "cpu/avx2 with 2 threads (" + gpu.error().message + ")");
}

}  // namespace
}  // namespace carat
