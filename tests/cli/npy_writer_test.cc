#include "cli/npy_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>

namespace carat::cli {
namespace {

TEST(NpyWriter, WritesWhatNumpyReads) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "npy_writer_test.npy";
  {
    NpyWriter writer = std::move(NpyWriter::create(path, 3).value());
    writer.append(std::vector<float>{1, 2, 3});
    writer.append(std::vector<float>{4, 5, 6.5f});
    ASSERT_TRUE(writer.finish().ok());
  }
  std::ifstream file(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  ASSERT_EQ(bytes.size(), 128u + 6 * sizeof(float));
  EXPECT_EQ(bytes.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  EXPECT_EQ(bytes.substr(10, 60), "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } ");
  EXPECT_EQ(bytes[127], '\n');
  float last = 0;
  std::memcpy(&last, bytes.data() + 128 + 5 * sizeof(float), sizeof last);
  EXPECT_EQ(last, 6.5f);
  std::filesystem::remove(path);
}

TEST(NpyWriter, AFolderThatIsNotThereIsAnError) {
  const auto writer = NpyWriter::create("/nonexistent/x.npy", 3);
  ASSERT_FALSE(writer.ok());
  EXPECT_NE(writer.error().message.find("/nonexistent/x.npy: cannot write"), std::string::npos);
}

TEST(NpyWriter, AFullDiskIsToldAtTheEndAndLeavesWhatWasThere) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "npy_writer_full.npy";
  std::ofstream(path) << "old";
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  {
    NpyWriter writer = std::move(NpyWriter::create(path, 1 << 16).value());
    writer.append(std::vector<float>(1 << 16));
    EXPECT_FALSE(writer.finish().ok());
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::ifstream file(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "old");
  for (const auto& entry : std::filesystem::directory_iterator(path.parent_path())) {
    EXPECT_EQ(entry.path().string().find("npy_writer_full.npy-"), std::string::npos) << "a file is left over";
  }
  std::filesystem::remove(path);
}

TEST(NpyWriter, OnlyAFileIsReplaced) {
  for (const char* path : {"/dev/null", "/dev/full", "/tmp"}) {
    const auto writer = NpyWriter::create(path, 3);
    ASSERT_FALSE(writer.ok()) << path;
    EXPECT_NE(writer.error().message.find("only a file is replaced"), std::string::npos) << writer.error().message;
  }
}

}  // namespace
}  // namespace carat::cli
