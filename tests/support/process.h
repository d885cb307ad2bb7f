// Runs a program as a user would: arguments, standard input, and what it wrote and returned.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace carat::test {

struct ProcessResult {
  int exit_code = -1;  // 128 + the signal's number if one ended it, as shells say it
  std::string out, err;
};

struct ProcessOptions {
  std::string input = {};                                             // standard input, then its end
  std::vector<std::pair<std::string, std::string>> environment = {};  // added to this process's
  int interrupt_after_bytes = -1;  // sends SIGINT once so much came on standard output
};

// arguments[0] is the program's path. A program that cannot be started gives exit code 127.
ProcessResult run_process(const std::vector<std::string>& arguments, const ProcessOptions& options = {});

// The program that is being tested, with these arguments.
ProcessResult run_carat(std::vector<std::string> arguments, const ProcessOptions& options = {});

}  // namespace carat::test
