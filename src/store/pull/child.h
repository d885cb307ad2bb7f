// Runs another program without a shell, in a process group of its own so that Ctrl-C reaches it only through us, and in
// surroundings that are chosen: what lies in the current folder or stands in the environment by accident is not its
// business.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace carat {

struct ChildCommand {
  std::vector<std::string> arguments;  // [0] is looked up in PATH's absolute folders
  std::filesystem::path folder;        // where it is started
  std::vector<std::string> inherited;  // variables that it gets from us, by name or (ending in '*') by its beginning
  std::vector<std::pair<std::string, std::string>> environment;  // and these, in place of ours
  int inherited_fd = -1;  // a descriptor that stays open in the child: a lock that lasts as long as it does
};

struct ChildResult {
  int exit_code = 0;   // 128 + signal if a signal ended it
  std::string output;  // the last 64 KiB of its standard output and error
};

// `on_tick` is called about ten times a second; when it returns false the child's group is ended (SIGTERM, after two
// seconds SIGKILL) and the result is kCancelled. Errors: kNotFound (no such program in PATH), kIo.
Result<ChildResult> run_child(const ChildCommand& command, const std::function<bool()>& on_tick);

}  // namespace carat
