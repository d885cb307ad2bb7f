// Blobs: a name only for bytes that are all there and right; what is interrupted is kept and gone on with.
#include "store/blobs.h"

#include <gtest/gtest.h>

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
  EXPECT_TRUE(blobs_.hold(stored->ref.digest, 3).ok()) << "a look at the size is all that a run takes";
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

}  // namespace
}  // namespace carat
