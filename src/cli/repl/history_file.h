// What was typed, kept from one session to the next: one entry a line, a newline within it written as \n and a
// backslash doubled. Every entry is appended at once, so that sessions side by side lose nothing of each other.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace carat::cli {

inline constexpr size_t kHistoryEntries = 1000;

class HistoryFile {
 public:
  explicit HistoryFile(std::filesystem::path path) : path_(std::move(path)) {}

  // The last kHistoryEntries, oldest first; none if there is no file. A file of more than twice as many is shortened.
  // Errors: kIo, kCorruptFile (more than 16 MiB).
  Result<std::vector<std::string>> load() const;

  // The file is made readable for its owner alone. Error: kIo.
  Status append(std::string_view entry) const;

 private:
  std::filesystem::path path_;
};

}  // namespace carat::cli
