// A program on a pseudo-terminal, typed to and read from as a person would: waits are for text, never for time.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace carat::test {

class Pty {
 public:
  // arguments[0] is the program's path; `environment` is added to this process's. TERM is xterm-256color.
  Pty(std::vector<std::string> arguments, const std::vector<std::pair<std::string, std::string>>& environment,
      int columns = 80);
  ~Pty();  // ends the program if it still runs
  Pty(const Pty&) = delete;
  Pty& operator=(const Pty&) = delete;

  void type(std::string_view keys);
  void resize(int columns);
  void wait_for_signals();  // until Ctrl-C is a signal again: no line is being edited

  // What was written up to and with `text`; a test failure, and what there is, if it does not come within two minutes.
  std::string read_to(std::string_view text);
  std::string read_to_end();
  int exit_code();  // waits; 128 + the signal's number if one ended it

 private:
  bool read_some();

  int terminal_ = -1;
  pid_t child_ = -1;
  std::string unread_;
};

// The text without escape sequences and carriage returns.
std::string plain(std::string_view text);

}  // namespace carat::test
