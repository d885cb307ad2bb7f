#include "base/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "base/atomic_file.h"
#include "base/memory.h"
#include "base/printable.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "carat_files_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string content(const std::string& name) const {
    std::ifstream file(folder_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

TEST(Printable, ShowsWhatATerminalWouldObey) {
  EXPECT_EQ(visible("a\x1b[2J\x07\r\b\x7f\n\tb"), "a\\x1b[2J\\x07\\r\\x08\\x7f\n\tb");
  EXPECT_EQ(visible("\xc2\x9b"), "\\u009b") << "C1, as UTF-8";
  EXPECT_EQ(visible("\x9b"
                    "31m"),
            "\\x9b31m")
      << "and as a byte";
  EXPECT_EQ(visible("\u00e4 \u6f22 \U0001F600"), "\u00e4 \u6f22 \U0001F600");
  EXPECT_EQ(one_line("a\nb\tc\u2028d\u202ee"), "a\\nb\\tc\\u2028d\\u202ee");
  EXPECT_EQ(escaped(std::string(100, 'a')), std::string(80, 'a') + "...");
  EXPECT_EQ(escaped("\u6f22\u5b57", 1), "\u6f22...") << "characters, not bytes";
}

TEST_F(Files, AreReadUpToALimit) {
  std::ofstream(folder_ / "a") << "12345";
  EXPECT_EQ(*read_file(folder_ / "a", 5), "12345");
  EXPECT_EQ(read_file(folder_ / "a", 4).error().code, ErrorCode::kCorruptFile);
  EXPECT_EQ(read_file(folder_ / "b", 4).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(read_file(folder_, 4).error().code, ErrorCode::kIo);
  EXPECT_EQ(read_file("/dev/zero", 4).error().code, ErrorCode::kIo);
  const OwnedFd zero(::open("/dev/zero", O_RDONLY));
  EXPECT_EQ(read_all(zero.get(), "zeros", 1 << 20).error().code, ErrorCode::kTooLong);
}

TEST_F(Files, TakeTheirNameWhenTheyAreWhole) {
  std::ofstream(folder_ / "a") << "old";
  {
    AtomicFile file = std::move(*AtomicFile::create(folder_ / "a"));
    ASSERT_TRUE(file.write("new").ok());
    EXPECT_EQ(content("a"), "old");
  }
  EXPECT_EQ(content("a"), "old");
  EXPECT_EQ(entries(), 1u) << "abandoned, it disappears";
  {
    AtomicFile file = std::move(*AtomicFile::create(folder_ / "a", kForOwner));
    ASSERT_TRUE(file.write("new").ok() && file.rewrite(0, "N").ok() && file.write(std::string(3 << 20, 'x')).ok());
    ASSERT_TRUE(file.commit().ok());
  }
  EXPECT_EQ(content("a"), "New" + std::string(3 << 20, 'x'));
  EXPECT_EQ(entries(), 1u);
  struct stat info {};
  ASSERT_EQ(::stat((folder_ / "a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(Files, OnlyAFileIsReplaced) {
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  fs::create_symlink("nowhere", folder_ / "dangling");
  for (const fs::path& path : {fs::path("/dev/null"), folder_, folder_ / "fifo", folder_ / "dangling"}) {
    EXPECT_FALSE(write_atomically(path, "x").ok()) << path;
  }
  fs::create_symlink("target", folder_ / "link");
  std::ofstream(folder_ / "target") << "old";
  EXPECT_TRUE(write_atomically(folder_ / "link", "new").ok());
  EXPECT_EQ(content("target"), "new");
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
}

TEST_F(Files, FoldersAreListedInOrder) {
  for (const char* name : {"b", "a", "c"}) std::ofstream(folder_ / name) << name;
  const auto paths = list_folder(folder_);
  ASSERT_TRUE(paths.ok());
  EXPECT_EQ(*paths, (std::vector<fs::path>{folder_ / "a", folder_ / "b", folder_ / "c"}));
  EXPECT_FALSE(list_folder(folder_ / "nothing").ok());
  EXPECT_FALSE(list_folder(folder_ / "a").ok());
}

TEST(Memory, ThatCannotBeHadIsAnError) {
  const Status status = with_memory([]() -> Status { throw std::bad_alloc(); });
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kOutOfMemory);
  EXPECT_EQ(*with_memory([]() -> Result<int> { return 5; }), 5);
  EXPECT_FALSE(with_memory([]() -> Result<std::string> { return std::string(std::string::npos, 'x'); }).ok());
}

}  // namespace
}  // namespace carat
