// posix_spawn in a new process group; one loop reads what it says, ticks, and waits for its end.
#include "store/pull/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "base/files.h"

extern char** environ;

namespace carat {
namespace {

constexpr size_t kMaxOutput = 64 << 10;
constexpr int kTickMs = 100;
constexpr int kEndMs = 5;  // between the end of its output and its own

struct Pipe {
  OwnedFd read, write;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return Error{ErrorCode::kIo, fmt::format("pipe: {}", std::strerror(errno))};
  return Pipe{OwnedFd(fds[0]), OwnedFd(fds[1])};
}

bool is_inherited(std::string_view entry, const ChildCommand& command) {
  const std::string_view name = entry.substr(0, entry.find('='));
  return std::any_of(command.inherited.begin(), command.inherited.end(), [&](std::string_view wanted) {
    return wanted.ends_with('*') ? name.starts_with(wanted.substr(0, wanted.size() - 1)) : name == wanted;
  });
}

std::vector<std::string> chosen_environment(const ChildCommand& command) {
  std::vector<std::string> chosen;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    bool replaced = false;
    for (const auto& [name, value] : command.environment) replaced |= text.rfind(name + "=", 0) == 0;
    if (!replaced && is_inherited(text, command)) chosen.push_back(text);
  }
  for (const auto& [name, value] : command.environment) chosen.push_back(fmt::format("{}={}", name, value));
  return chosen;
}

// An empty or relative entry of PATH means the folder that somebody happens to stand in, so it is passed over.
std::string find_program(const std::string& name) {
  std::string_view path = "/usr/local/bin:/usr/bin:/bin";
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("PATH=")) continue;
    path = std::string_view(*entry).substr(5);
    break;
  }
  while (!path.empty()) {
    const size_t end = std::min(path.find(':'), path.size());
    const std::string program = fmt::format("{}/{}", path.substr(0, end), name);
    if (path[0] == '/' && is_file(program) && ::access(program.c_str(), X_OK) == 0) return program;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return {};
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  all.reserve(texts.size() + 1);
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

Result<pid_t> spawn(const ChildCommand& command, int output_fd) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output_fd, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output_fd, STDERR_FILENO);
  posix_spawn_file_actions_addchdir_np(&actions, command.folder.c_str());
  // dup2 onto itself clears close-on-exec in the child (POSIX 2024, glibc since 2.29).
  if (command.inherited_fd >= 0) {
    posix_spawn_file_actions_adddup2(&actions, command.inherited_fd, command.inherited_fd);
  }

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ}) sigaddset(&defaults, signal);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setsigmask(&attributes, &none);

  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> environment = chosen_environment(command);
  const std::string program = find_program(arguments[0]);
  pid_t pid = -1;
  const int error = program.empty() ? ENOENT
                                    : ::posix_spawn(&pid, program.c_str(), &actions, &attributes,
                                                    pointers(arguments).data(), pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    return Error{error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
                 fmt::format("cannot start {}: {}", command.arguments[0], std::strerror(error))};
  }
  return pid;
}

// Waits at most one tick for output, and takes what there is.
void read_output(int fd, bool& open, std::string& output) {
  pollfd waiting{fd, POLLIN, 0};
  if (::poll(open ? &waiting : nullptr, open ? 1 : 0, open ? kTickMs : kEndMs) <= 0) return;
  std::array<char, 4096> buffer{};
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  if (got <= 0) {
    open = got < 0 && errno == EINTR;
    return;
  }
  output.append(buffer.data(), static_cast<size_t>(got));
  if (output.size() > 2 * kMaxOutput) output.erase(0, output.size() - kMaxOutput);
}

int reap(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void end_group(pid_t pid) {
  ::kill(-pid, SIGTERM);
  for (int i = 0; i < 20; ++i) {
    if (::waitpid(pid, nullptr, WNOHANG) == pid) return;
    ::poll(nullptr, 0, kTickMs);
  }
  ::kill(-pid, SIGKILL);
  reap(pid);
}

}  // namespace

Result<ChildResult> run_child(const ChildCommand& command, const std::function<bool()>& on_tick) {
  CARAT_TRY(Pipe pipe, make_pipe());
  CARAT_TRY(const pid_t pid, spawn(command, pipe.write.get()));
  pipe.write = OwnedFd();

  ChildResult result;
  bool open = true;
  int status = 0;
  pid_t ended = 0;
  auto next_tick = std::chrono::steady_clock::now();
  while (ended == 0) {
    read_output(pipe.read.get(), open, result.output);
    if (const auto now = std::chrono::steady_clock::now(); now >= next_tick) {
      next_tick = now + std::chrono::milliseconds(kTickMs);
      if (!on_tick()) {
        end_group(pid);
        return Error{ErrorCode::kCancelled, "cancelled"};
      }
    }
    // The pipe may outlive the child in a grandchild, so the child's own end is what counts.
    ended = ::waitpid(pid, &status, WNOHANG);
    if (ended < 0 && errno == EINTR) ended = 0;
  }
  pollfd last{pipe.read.get(), POLLIN, 0};
  while (open && ::poll(&last, 1, 0) > 0) read_output(pipe.read.get(), open, result.output);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (result.output.size() > kMaxOutput) result.output.erase(0, result.output.size() - kMaxOutput);
  return result;
}

}  // namespace carat
