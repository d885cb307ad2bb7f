#include "cli/npy_writer.h"

#include <gtest/gtest.h>

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
  EXPECT_EQ(writer.error().code, ErrorCode::kIo);
  EXPECT_NE(writer.error().message.find("/nonexistent/x.npy: cannot write"), std::string::npos);
}

TEST(NpyWriter, AFullDiskIsToldAtTheEnd) {
  NpyWriter writer = std::move(NpyWriter::create("/dev/full", 1 << 16).value());
  const std::vector<float> row(1 << 16);
  writer.append(row);
  EXPECT_FALSE(writer.finish().ok());
}

}  // namespace
}  // namespace carat::cli
