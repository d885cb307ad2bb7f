#include "base/file_map.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

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
  EXPECT_NE(folder.error().message.find("it is a folder, expected a file"), std::string::npos);
}

TEST_F(FileMapTest, AFifoIsNoFileAndIsNotWaitedFor) {
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  const auto map = FileMap::open(folder_ / "fifo");
  ASSERT_FALSE(map.ok());
  EXPECT_NE(map.error().message.find("a FIFO"), std::string::npos);
  EXPECT_FALSE(FileMap::open("/dev/zero").ok());
}

TEST_F(FileMapTest, WhatIsCutOffReadsAsZerosAndIsTold) {
  const std::string text(3 << 20, 'x');
  const fs::path path = write("big", text);
  auto opened = FileMap::open(path);
  ASSERT_TRUE(opened.ok());
  const FileMap map = std::move(*opened);
  EXPECT_TRUE(map.whole().ok() && map.check().ok());
  fs::resize_file(path, 100'000);
  EXPECT_TRUE(map.whole().ok()) << "nobody has read beyond the end yet";
  EXPECT_FALSE(map.check().ok());
  int64_t sum = 0;
  for (const std::byte byte : map.bytes()) sum += static_cast<int>(byte);
  EXPECT_EQ(sum, 100'000 * 'x');
  ASSERT_FALSE(map.whole().ok());
  EXPECT_EQ(map.whole().error().code, ErrorCode::kIo);
  EXPECT_NE(map.whole().error().message.find("cut short"), std::string::npos);

  const auto other = FileMap::open(write("other", "fine"));
  EXPECT_EQ(text_of(*other), "fine");
  EXPECT_TRUE(other->whole().ok()) << "another map has nothing to do with it";
}

TEST_F(FileMapTest, ThreadsMeetTheEndAtTheSameTime) {
  const fs::path path = write("big", std::string(8 << 20, 'x'));
  const auto map = FileMap::open(path);
  ASSERT_TRUE(map.ok());
  fs::resize_file(path, 0);
  std::vector<std::thread> threads;
  std::atomic<int64_t> sum = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (const std::byte byte : map->bytes()) sum += static_cast<int>(byte);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 0);
  EXPECT_FALSE(map->whole().ok());
}

TEST_F(FileMapTest, AnOverwrittenFileHasChanged) {
  const fs::path path = write("a", "first");
  const auto map = FileMap::open(path);
  ASSERT_TRUE(map.ok());
  write("a", "other");
  fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(1));
  EXPECT_FALSE(map->check().ok());
  EXPECT_TRUE(map->whole().ok());
}

TEST_F(FileMapTest, WhatStandsInAFilesPlaceIsNamed) {
  const auto pointer = FileMap::open(write("p", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"));
  ASSERT_FALSE(pointer.ok());
  EXPECT_EQ(pointer.error().code, ErrorCode::kCorruptFile);
  EXPECT_NE(pointer.error().message.find("is a Git LFS pointer"), std::string::npos);
  EXPECT_TRUE(FileMap::open(write("q", "version https://git-lfs.github.com/spec/v2\n")).ok());

  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  const auto fifo = FileMap::open(folder_ / "fifo");  // nobody writes to it: opening must not wait
  ASSERT_FALSE(fifo.ok());
  EXPECT_NE(fifo.error().message.find("it is a FIFO, expected a file"), std::string::npos);
}

TEST_F(FileMapTest, ATruncatedFileIsAnErrorAndNoSignal) {
  const std::string text(1 << 20, 'x');
  const auto path = write("shrinks", text);
  const auto map = FileMap::open(path);
  const auto other = FileMap::open(write("stays", text));
  ASSERT_TRUE(map.ok() && other.ok());
  EXPECT_TRUE(map->check().ok());
  std::filesystem::resize_file(path, 5000);
  EXPECT_EQ(map->bytes()[4096], std::byte{'x'});
  EXPECT_EQ(map->bytes()[900000], std::byte{0});
  EXPECT_EQ(map->bytes()[8192], std::byte{0});
  const Status changed = map->check();
  ASSERT_FALSE(changed.ok());
  EXPECT_NE(changed.error().message.find("shrinks: the file changed"), std::string::npos);
  EXPECT_TRUE(other->check().ok());
  EXPECT_EQ(text_of(*other), text);
}

TEST_F(FileMapTest, AFileThatIsWrittenToChangedAndOneThatIsReplacedDidNot) {
  const auto path = write("a", "one");
  const auto map = FileMap::open(path);
  ASSERT_TRUE(map.ok());
  std::filesystem::rename(write("b", "two"), path);
  EXPECT_TRUE(map->check().ok()) << "the map is of the file that was there";
  const auto second = FileMap::open(path);
  std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) + std::chrono::seconds(1));
  EXPECT_FALSE(second->check().ok());
}

TEST_F(FileMapTest, ReleasedPagesReadTheSameAgain) {
  const std::string text(3 << 20, 'x');
  const auto map = FileMap::open(write("big", text));
  ASSERT_TRUE(map.ok());
  ASSERT_EQ(text_of(*map), text);
  release_pages(map->bytes().subspan(1));  // begins and ends inside a page
  EXPECT_EQ(text_of(*map), text);
}

TEST_F(FileMapTest, PagesLeaveTheCache) {
  struct statfs system {};
  ASSERT_EQ(::statfs(folder_.c_str(), &system), 0);
  constexpr decltype(system.f_type) kTmpfs = 0x01021994;
  if (system.f_type == kTmpfs) GTEST_SKIP() << "files of " << folder_ << " lie in memory";
  const fs::path path = write("large", std::string(size_t{1} << 20, 'x'));
  const int fd = ::open(path.c_str(), O_RDONLY);
  ASSERT_EQ(::fsync(fd), 0);  // a page that is not on the disk stays
  ::close(fd);
  auto map = FileMap::open(path);
  ASSERT_TRUE(map.ok());
  const auto resident = [&] {
    std::vector<unsigned char> pages(map->bytes().size() / static_cast<size_t>(::sysconf(_SC_PAGESIZE)));
    EXPECT_EQ(::mincore(const_cast<std::byte*>(map->bytes().data()), map->bytes().size(), pages.data()), 0);
    return std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; });
  };
  EXPECT_EQ(text_of(*map), std::string(size_t{1} << 20, 'x'));
  EXPECT_GT(resident(), 200);
  map->leave_cache();
  EXPECT_LT(resident(), 20);
  EXPECT_EQ(text_of(*map), std::string(size_t{1} << 20, 'x'));
}

}  // namespace
}  // namespace carat
