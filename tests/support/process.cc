#include "support/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "support/paths.h"

extern char** environ;

namespace carat::test {
namespace {

struct Pipe {
  int read_end = -1, write_end = -1;

  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) == 0) read_end = ends[0], write_end = ends[1];
  }
  ~Pipe() { close_read(), close_write(); }
  void close_read() { close_one(read_end); }
  void close_write() { close_one(write_end); }

 private:
  static void close_one(int& fd) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// False at the end of the stream.
bool drain(int fd, std::string& text) {
  std::array<char, 65536> buffer{};
  const ssize_t count = ::read(fd, buffer.data(), buffer.size());
  if (count > 0) text.append(buffer.data(), static_cast<size_t>(count));
  return count > 0 || (count < 0 && errno == EINTR);
}

}  // namespace

ProcessResult run_process(const std::vector<std::string>& arguments, const ProcessOptions& options) {
  Pipe input, output, errors;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.read_end, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.write_end, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors.write_end, STDERR_FILENO);

  std::vector<std::string> argument_texts = arguments, environment_texts;
  for (const auto& [name, value] : options.environment) environment_texts.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) environment_texts.emplace_back(*entry);
  pid_t child = 0;
  const int failure = posix_spawn(&child, arguments[0].c_str(), &actions, nullptr, pointers(argument_texts).data(),
                                  pointers(environment_texts).data());
  posix_spawn_file_actions_destroy(&actions);
  ProcessResult result;
  if (failure != 0) return {127, "", "cannot start " + arguments[0]};
  input.close_read(), output.close_write(), errors.close_write();

  ::signal(SIGPIPE, SIG_IGN);  // a program need not read its input
  ::fcntl(input.write_end, F_SETFL, O_NONBLOCK);
  size_t sent = 0;
  bool interrupt = options.interrupt_after_bytes >= 0;
  while (output.read_end >= 0 || errors.read_end >= 0) {
    if (sent == options.input.size()) input.close_write();
    std::array<pollfd, 3> waits{
        {{output.read_end, POLLIN, 0}, {errors.read_end, POLLIN, 0}, {input.write_end, POLLOUT, 0}}};
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) break;
    if (waits[0].revents != 0 && !drain(output.read_end, result.out)) output.close_read();
    if (waits[1].revents != 0 && !drain(errors.read_end, result.err)) errors.close_read();
    if (waits[2].revents != 0) {
      const ssize_t count = ::write(input.write_end, options.input.data() + sent, options.input.size() - sent);
      if (count > 0) sent += static_cast<size_t>(count);
      if (count < 0 && errno != EAGAIN && errno != EINTR) sent = options.input.size();
    }
    if (interrupt && static_cast<int>(result.out.size()) >= options.interrupt_after_bytes) {
      ::kill(child, SIGINT);
      interrupt = false;
    }
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

ProcessResult run_carat(std::vector<std::string> arguments, const ProcessOptions& options) {
  arguments.insert(arguments.begin(), kCaratBinary);
  return run_process(arguments, options);
}

}  // namespace carat::test
