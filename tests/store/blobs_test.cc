// Blobs: a name only for bytes that are all there and right; what is interrupted is kept and gone on with.
#include "store/blobs.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "model/fixture.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

class BlobsTest : public testing::Test {
 protected:
  size_t file_count() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(blobs_.folder()), fs::directory_iterator()));
  }

  test::TemporaryDirectory folder_;
  Blobs blobs_{folder_.path() / "blobs"};
};

TEST_F(BlobsTest, HoldsWhatWasPut) {
  const auto stored = blobs_.put("abc");
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  EXPECT_EQ(stored->ref.digest, sha256("abc"));
  EXPECT_EQ(stored->ref.size_bytes, 3u);
  EXPECT_TRUE(blobs_.verify(stored->ref.digest, 3).ok());
  EXPECT_TRUE(blobs_.put("abc").ok()) << "twice is once";
  EXPECT_EQ(file_count(), 1u);
}

TEST_F(BlobsTest, AnotherSizeOrOtherBytesAreNoticed) {
  const auto stored = blobs_.put("abc");
  ASSERT_TRUE(stored.ok());
  const fs::path path = blobs_.path_of(stored->ref.digest);
  std::ofstream(path) << "abd";
  EXPECT_TRUE(blobs_.hold(stored->ref.digest, 3).ok()) << "holding looks at the size only";
  EXPECT_TRUE(
      test::fails_with(blobs_.verify(stored->ref.digest, 3), ErrorCode::kCorruptFile, {"pull the model again"}));
  std::ofstream(path) << "abcd";
  EXPECT_TRUE(test::fails_with(blobs_.hold(stored->ref.digest, 3), ErrorCode::kCorruptFile, {"4 bytes, not 3"}));
  ASSERT_TRUE(blobs_.put("abc").ok());
  EXPECT_TRUE(blobs_.verify(stored->ref.digest, 3).ok()) << "putting it again mends it";
}

TEST_F(BlobsTest, NothingIsThereBeforeTheEnd) {
  auto writer = blobs_.resume(sha256("abcdef"));
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  ASSERT_TRUE(writer->keep(0).ok());
  ASSERT_TRUE(writer->write(bytes_of("abcdef")).ok());
  EXPECT_TRUE(test::fails_with(blobs_.hold(sha256("abcdef"), 6), ErrorCode::kNotFound, {}));
  ASSERT_TRUE(writer->commit().ok());
  EXPECT_TRUE(blobs_.verify(sha256("abcdef"), 6).ok());
  EXPECT_EQ(file_count(), 1u);
}

TEST_F(BlobsTest, GoesOnWithWhatWasLeft) {
  {
    auto writer = blobs_.resume(sha256("abcdef"));
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->keep(0).ok());
    ASSERT_TRUE(writer->write(bytes_of("abcd")).ok());
  }
  auto writer = blobs_.resume(sha256("abcdef"));
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(writer->left_over_bytes(), 4u);
  ASSERT_TRUE(writer->keep(3).ok());
  ASSERT_TRUE(writer->write(bytes_of("def")).ok());
  EXPECT_TRUE(writer->commit().ok());
}

TEST_F(BlobsTest, WrongBytesNeverGetTheName) {
  auto writer = blobs_.resume(sha256("abcdef"));
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->keep(0).ok());
  ASSERT_TRUE(writer->write(bytes_of("abcdeF")).ok());
  EXPECT_TRUE(
      test::fails_with(writer->commit(), ErrorCode::kCorruptFile, {sha256("abcdef").hex(), sha256("abcdeF").hex()}));
  EXPECT_EQ(file_count(), 0u) << "and nothing is left that could be gone on with";
}

TEST_F(BlobsTest, OneWriterAtATime) {
  const auto first = blobs_.resume(sha256("abc"));
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(test::fails_with(blobs_.resume(sha256("abc")), ErrorCode::kIo, {"another carat"}));
}

// One bit of a blob, its size and modification time as they were before.
void flip_a_bit(const fs::path& path) {
  const auto modified = fs::last_write_time(path);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(1);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(1);
  file.put(byte);
  file.close();
  fs::last_write_time(path, modified);
}

TEST_F(BlobsTest, ABitThatFlippedIsFoundOnTheNextUse) {
  const auto stored = blobs_.put("abcdef");
  ASSERT_TRUE(stored.ok());
  const Digest digest = stored->ref.digest;
  ASSERT_TRUE(blobs_.hold_verified(digest, 6).ok());
  flip_a_bit(blobs_.path_of(digest));
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(test::fails_with(blobs_.hold_verified(digest, 6), ErrorCode::kCorruptFile, {"not those of its name"}));
  }
  flip_a_bit(blobs_.path_of(digest));
  EXPECT_TRUE(blobs_.hold_verified(digest, 6).ok()) << "it is right again";
}

TEST_F(BlobsTest, ABlobIsHashedOnceAndThenOnlyLookedAt) {
  const auto stored = blobs_.put("abcdef");
  ASSERT_TRUE(stored.ok());
  const Digest digest = stored->ref.digest;
  struct stat look {};
  ASSERT_EQ(::stat(blobs_.path_of(digest).c_str(), &look), 0);
  EXPECT_TRUE(blobs_.notes().has(digest, look)) << "it was hashed when it came in";
  blobs_.notes().forget(digest);
  ASSERT_TRUE(blobs_.hold_verified(digest, 6).ok());
  EXPECT_TRUE(blobs_.notes().has(digest, look));
  look.st_ino += 1;
  EXPECT_FALSE(blobs_.notes().has(digest, look));
  look.st_ino -= 1;
  look.st_ctim.tv_nsec ^= 1;
  EXPECT_FALSE(blobs_.notes().has(digest, look));
  // A copy in its place, with the same bytes, is another inode: hashed, and noted anew.
  const fs::path path = blobs_.path_of(digest);
  fs::copy(path, folder_.path() / "copy");
  fs::rename(folder_.path() / "copy", path);
  EXPECT_TRUE(blobs_.hold_verified(digest, 6).ok());
  std::ofstream(folder_.path() / "verified" / digest.hex()) << "no note\n";
  EXPECT_TRUE(blobs_.hold_verified(digest, 6).ok());
}

TEST_F(BlobsTest, LinksToAnotherDiskAreFollowed) {
  const auto stored = blobs_.put("abcdef");
  ASSERT_TRUE(stored.ok());
  const fs::path path = blobs_.path_of(stored->ref.digest), elsewhere = folder_.path() / "elsewhere";
  fs::rename(path, elsewhere);
  fs::create_symlink(elsewhere, path);
  EXPECT_TRUE(blobs_.hold_verified(stored->ref.digest, 6).ok());
  fs::rename(blobs_.folder(), folder_.path() / "other disk");
  fs::create_directory_symlink(folder_.path() / "other disk", blobs_.folder());
  EXPECT_TRUE(blobs_.hold_verified(stored->ref.digest, 6).ok());
  EXPECT_TRUE(blobs_.put("more").ok());
  fs::remove(elsewhere);
  EXPECT_TRUE(test::fails_with(blobs_.hold(stored->ref.digest, 6), ErrorCode::kIo,
                               {"is a symbolic link to", "elsewhere", "cannot be opened"}));
  fs::remove(path);
  fs::create_symlink(path, path);
  EXPECT_TRUE(test::fails_with(blobs_.hold(stored->ref.digest, 6), ErrorCode::kIo, {"is a symbolic link to"}));
}

TEST_F(BlobsTest, LinksToWhatBelongsToSomebodyElseAreNot) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make a file that belongs to somebody else";
  const auto stored = blobs_.put("abcdef");
  ASSERT_TRUE(stored.ok());
  const fs::path path = blobs_.path_of(stored->ref.digest), elsewhere = folder_.path() / "elsewhere";
  fs::rename(path, elsewhere);
  fs::create_symlink(elsewhere, path);
  ASSERT_EQ(::chown(elsewhere.c_str(), 12345, 12345), 0);
  EXPECT_TRUE(test::fails_with(blobs_.hold(stored->ref.digest, 6), ErrorCode::kIo, {"belongs to somebody else"}));
}

TEST_F(BlobsTest, AFifoInABlobsPlaceDoesNotHang) {
  const auto stored = blobs_.put("abcdef");
  ASSERT_TRUE(stored.ok());
  const fs::path path = blobs_.path_of(stored->ref.digest);
  fs::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(blobs_.hold(stored->ref.digest, 6).ok());
}

}  // namespace
}  // namespace carat
