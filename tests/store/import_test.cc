// Local weights into the store: the fixture as a Hugging Face folder, its refusal when damaged, and cancelling.
#include <gtest/gtest.h>

#include <fstream>

#include "model/fixture.h"
#include "store/observer.h"
#include "store/pull/pull.h"
#include "store/store.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

class Import : public testing::Test {
 protected:
  test::TemporaryDirectory folder_;
  Store store_{folder_.path() / "home"};
  Reference reference_ = *Reference::parse("my:tag");
  test::RecordingObserver observer_;
};

TEST_F(Import, AFolderIsCopiedAndOpens) {
  const fs::path source = test::golden("gemma3-tiny-text");
  const Status status = import_model(store_, reference_, source, observer_);
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_TRUE(observer_.saw("success"));
  EXPECT_EQ(observer_.done.back(), observer_.total) << "the bar ends full";
  const auto model = store_.resolve("my:tag");
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_FALSE(model->is_local);
  EXPECT_TRUE(model->is_base) << "the fixture has no chat template";
  const auto file = ModelFile::open(model->path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->parameters, ModelFile::open(source)->parameters);
  EXPECT_TRUE(store_.verify(store_.find(reference_)->manifest).ok());
}

TEST_F(Import, WhatIsNoModelLeavesNothing) {
  const fs::path bad = folder_.path() / "bad.gguf";
  std::ofstream(bad) << "GGUF but not really";
  EXPECT_FALSE(import_model(store_, reference_, bad, observer_).ok());
  EXPECT_FALSE(import_model(store_, reference_, folder_.path() / "none.gguf", observer_).ok());
  EXPECT_FALSE(fs::exists(store_.home()));
}

TEST_F(Import, CancelledLeavesNoBlob) {
  observer_.cancel = true;
  EXPECT_TRUE(test::fails_with(import_model(store_, reference_, test::golden("gemma3-tiny-text"), observer_),
                               ErrorCode::kCancelled, {}));
  EXPECT_TRUE(fs::is_empty(store_.blobs().folder()));
}

}  // namespace
}  // namespace carat
