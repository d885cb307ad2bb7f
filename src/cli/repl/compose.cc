// The variable may hold arguments ("code --wait"), so a shell reads it, as everywhere else.
#include "cli/repl/compose.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/io_error.h"

namespace carat::cli {
namespace {

constexpr size_t kMaxBytes = 4 << 20;

std::string editor_command() {
  for (const char* name : {"CARAT_EDITOR", "OLLAMA_EDITOR", "VISUAL", "EDITOR"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "vi";
}

std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// A file that only its owner can read, and that goes in the end.
class TemporaryFile {
 public:
  TemporaryFile() {
    std::error_code ignored;
    path_ = (std::filesystem::temp_directory_path(ignored) / "carat-prompt-XXXXXX.txt").string();
    fd_ = OwnedFd(::mkostemps(path_.data(), 4, O_CLOEXEC));
  }
  ~TemporaryFile() {
    if (fd_.valid()) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  OwnedFd fd_;
};

}  // namespace

Result<std::string> compose_in_editor(std::string_view text) {
  const TemporaryFile file;
  if (file.fd() < 0) return io_error(file.path(), "write it", errno);
  CARAT_CHECK(write_all(file.fd(), text, file.path()));
  const std::string editor = editor_command();
  if (std::system((editor + ' ' + shell_quoted(file.path())).c_str()) != 0) {
    return Error{ErrorCode::kCancelled, fmt::format("the editor '{}' failed; CARAT_EDITOR names another", editor)};
  }
  CARAT_TRY(std::string written, read_small_file(file.path(), kMaxBytes));
  written.erase(written.find_last_not_of('\n') + 1);
  return written;
}

}  // namespace carat::cli
