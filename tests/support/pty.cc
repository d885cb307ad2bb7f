// The child gets the terminal as its controlling one, so that Ctrl-C and a resize are signals to it.
#include "support/pty.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

namespace carat::test {
namespace {

winsize size_of(int columns) {
  winsize size{};
  size.ws_row = 24;
  size.ws_col = static_cast<unsigned short>(columns);
  return size;
}

// Only what may be called between fork and exec of a program with threads: everything is prepared before.
[[noreturn]] void run(char* const* arguments, char* const* environment) {
  ::execve(arguments[0], arguments, environment);
  ::_exit(127);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Pty::Pty(std::vector<std::string> arguments, const std::vector<std::pair<std::string, std::string>>& environment,
         int columns) {
  std::vector<std::string> settings{"TERM=xterm-256color"};
  for (const auto& [name, value] : environment) settings.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) settings.emplace_back(*entry);
  const std::vector<char*> argument_pointers = pointers(arguments), setting_pointers = pointers(settings);
  const winsize size = size_of(columns);
  child_ = ::forkpty(&terminal_, nullptr, nullptr, &size);
  if (child_ == 0) run(argument_pointers.data(), setting_pointers.data());
  EXPECT_GT(child_, 0) << "no pseudo-terminal";
}

Pty::~Pty() {
  if (child_ > 0) {
    ::kill(child_, SIGKILL);
    exit_code();
  }
  ::close(terminal_);
}

void Pty::type(std::string_view keys) {
  while (!keys.empty()) {
    const ssize_t count = ::write(terminal_, keys.data(), keys.size());
    if (count < 0 && errno == EINTR) continue;
    ASSERT_GT(count, 0) << "the program no longer reads";
    keys.remove_prefix(static_cast<size_t>(count));
  }
}

void Pty::wait_for_signals() {
  termios mode{};
  while (::tcgetattr(terminal_, &mode) == 0 && (mode.c_lflag & ISIG) == 0) ::usleep(1000);
}

void Pty::resize(int columns) {
  const winsize size = size_of(columns);
  ASSERT_EQ(::ioctl(terminal_, TIOCSWINSZ, &size), 0);
}

std::string Pty::read_to(std::string_view text) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  size_t found = 0;
  while ((found = unread_.find(text)) == std::string::npos) {
    if (std::chrono::steady_clock::now() > deadline || !read_some()) {
      ADD_FAILURE() << "'" << text << "' did not come, but: " << unread_;
      return std::exchange(unread_, {});
    }
  }
  std::string result = unread_.substr(0, found + text.size());
  unread_.erase(0, result.size());
  return result;
}

std::string Pty::read_to_end() {
  while (read_some()) {
  }
  return std::exchange(unread_, {});
}

int Pty::exit_code() {
  int status = 0;
  while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
  }
  child_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// False at the end, and after half a minute of silence.
bool Pty::read_some() {
  pollfd wait{terminal_, POLLIN, 0};
  if (::poll(&wait, 1, 30'000) <= 0) return false;
  std::array<char, 65536> buffer{};
  const ssize_t count = ::read(terminal_, buffer.data(), buffer.size());
  if (count > 0) unread_.append(buffer.data(), static_cast<size_t>(count));
  return count > 0 || (count < 0 && errno == EINTR);
}

std::string plain(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b' && i + 1 < text.size() && text[i + 1] == '[') {
      i += 2;
      while (i < text.size() && (text[i] < '@' || text[i] > '~')) ++i;
    } else if (text[i] != '\r' && text[i] != '\x1b') {
      out += text[i];
    }
  }
  return out;
}

}  // namespace carat::test
