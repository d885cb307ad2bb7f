// What a lock excludes, between descriptors as between processes (flock does not tell them apart), and that a lock on a
// file that lost its path is none.
#include "store/locks.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "model/fixture.h"

namespace carat {
namespace {

class Locks : public testing::Test {
 protected:
  Locks() { folder_.write("x", ""); }

  bool free_for(LockMode mode) const {
    const auto lock = FileLock::try_acquire(path_, mode);
    EXPECT_TRUE(lock.ok());
    return lock.ok() && lock->has_value();
  }

  test::TemporaryDirectory folder_;
  std::filesystem::path path_ = folder_.path() / "x";
};

TEST_F(Locks, SharedAdmitsShared) {
  const auto lock = FileLock::acquire(path_, LockMode::kShared);
  ASSERT_TRUE(lock.ok());
  EXPECT_TRUE(free_for(LockMode::kShared));
  EXPECT_FALSE(free_for(LockMode::kExclusive));
}

TEST_F(Locks, ExclusiveAdmitsNobodyUntilItEnds) {
  {
    auto lock = FileLock::acquire(path_, LockMode::kExclusive);
    ASSERT_TRUE(lock.ok());
    EXPECT_FALSE(free_for(LockMode::kShared));
    ASSERT_TRUE(lock->downgrade(path_).ok());
    EXPECT_TRUE(free_for(LockMode::kShared));
  }
  EXPECT_TRUE(free_for(LockMode::kExclusive));
}

TEST_F(Locks, AFileThatLostItsPathIsNotLocked) {
  OwnedFd fd(::open(path_.c_str(), O_RDONLY));
  std::filesystem::remove(path_);
  const auto lock = FileLock::try_adopt(std::move(fd), path_, LockMode::kExclusive);
  ASSERT_TRUE(lock.ok());
  EXPECT_FALSE(lock->has_value());
}

TEST_F(Locks, FoldersToo) {
  const auto lock = FileLock::acquire(folder_.path(), LockMode::kExclusive);
  ASSERT_TRUE(lock.ok());
  const auto second = FileLock::try_acquire(folder_.path(), LockMode::kShared);
  ASSERT_TRUE(second.ok());
  EXPECT_FALSE(second->has_value());
}

TEST_F(Locks, ALinkLocksWhatItLeadsTo) {
  std::filesystem::create_symlink(path_, folder_.path() / "link");
  const auto lock = FileLock::acquire(folder_.path() / "link", LockMode::kExclusive);
  ASSERT_TRUE(lock.ok()) << lock.error().message;
  EXPECT_FALSE(FileLock::try_acquire(path_, LockMode::kShared)->has_value());
  EXPECT_TRUE(
      test::fails_with(FileLock::acquire(folder_.path() / "none", LockMode::kShared), ErrorCode::kNotFound, {"none"}));
}

}  // namespace
}  // namespace carat
