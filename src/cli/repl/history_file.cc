// Shortening goes through a temporary file, so an entry is never half there.
#include "cli/repl/history_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/atomic_file.h"
#include "base/io_error.h"

namespace carat::cli {
namespace {

constexpr size_t kMaxBytes = 16 << 20;

std::string to_line(std::string_view entry) {
  std::string line;
  for (const char c : entry) {
    if (c == '\n') {
      line += "\\n";
    } else if (c == '\\') {
      line += "\\\\";
    } else {
      line += c;
    }
  }
  return line + '\n';
}

std::string from_line(std::string_view line) {
  std::string entry;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size()) {
      ++i;
      entry += line[i] == 'n' ? '\n' : line[i];
    } else {
      entry += line[i];
    }
  }
  return entry;
}

}  // namespace

Result<std::vector<std::string>> HistoryFile::load() const {
  const auto text = read_small_file(path_, kMaxBytes);
  std::vector<std::string> entries;
  if (!text.ok()) {
    if (text.error().code == ErrorCode::kNotFound) return entries;
    return text.error();
  }
  std::string_view rest = *text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    entries.push_back(from_line(rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  const bool too_long = entries.size() > 2 * kHistoryEntries;
  if (entries.size() > kHistoryEntries) entries.erase(entries.begin(), entries.end() - kHistoryEntries);
  if (too_long) {
    std::string shorter;
    for (const std::string& entry : entries) shorter += to_line(entry);
    CARAT_CHECK(write_atomically(path_, shorter, kForOwner));
  }
  return entries;
}

Status HistoryFile::append(std::string_view entry) const {
  CARAT_CHECK(make_folders(path_.parent_path()));
  const OwnedFd fd(
      ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, kForOwner));
  if (!fd.valid()) return io_error(path_, "write it", errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Error{ErrorCode::kIo,
                 fmt::format("{}: it is {}, expected a file", path_.string(), kind_of_file(info.st_mode))};
  }
  if ((info.st_mode & 0077) != 0) ::fchmod(fd.get(), kForOwner);
  return write_all(fd.get(), to_line(entry), path_);
}

}  // namespace carat::cli
