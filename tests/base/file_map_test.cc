#include "base/file_map.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

namespace carat {
namespace {

namespace fs = std::filesystem;

class FileMapTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "carat_file_map_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }

  fs::path folder_;
};

std::string text_of(const FileMap& map) {
  return {reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size()};
}

TEST_F(FileMapTest, HoldsTheBytes) {
  const auto map = FileMap::open(write("a", "some bytes"));
  ASSERT_TRUE(map.ok());
  EXPECT_EQ(text_of(*map), "some bytes");
  EXPECT_EQ(map->path(), folder_ / "a");
}

TEST_F(FileMapTest, EmptyFileIsAnEmptySpan) {
  const auto map = FileMap::open(write("empty", ""));
  ASSERT_TRUE(map.ok());
  EXPECT_TRUE(map->bytes().empty());
}

TEST_F(FileMapTest, BytesOutliveAMove) {
  auto opened = FileMap::open(write("a", "first"));
  auto other = FileMap::open(write("b", "second"));
  ASSERT_TRUE(opened.ok() && other.ok());
  FileMap moved = std::move(*opened);
  EXPECT_EQ(text_of(moved), "first");
  moved = std::move(*other);
  EXPECT_EQ(text_of(moved), "second");
}

TEST_F(FileMapTest, ErrorsNameTheFile) {
  const auto missing = FileMap::open(folder_ / "missing");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_NE(missing.error().message.find((folder_ / "missing").string()), std::string::npos);

  const auto folder = FileMap::open(folder_);
  ASSERT_FALSE(folder.ok());
  EXPECT_EQ(folder.error().code, ErrorCode::kIo);
  EXPECT_NE(folder.error().message.find("not a regular file"), std::string::npos);
}

TEST_F(FileMapTest, ReleasedPagesReadTheSameAgain) {
  const std::string text(3 << 20, 'x');
  const auto map = FileMap::open(write("big", text));
  ASSERT_TRUE(map.ok());
  ASSERT_EQ(text_of(*map), text);
  release_pages(map->bytes().subspan(1));  // begins and ends inside a page
  EXPECT_EQ(text_of(*map), text);
}

}  // namespace
}  // namespace carat
