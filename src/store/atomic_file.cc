// Write beside, sync, rename, sync the folder: the order that makes a small file whole or absent.
#include "store/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "store/io_error.h"
#include "store/locks.h"

namespace carat {
namespace {

Status write_all(int fd, std::string_view content, const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error(path, "write it", errno);
    content.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

}  // namespace

Status write_atomically(const std::filesystem::path& path, std::string_view content) {
  const auto temporary =
      path.parent_path() / fmt::format("{}{}-{}", kTemporaryPrefix, path.filename().string(), ::getpid());
  {
    OwnedFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!fd.valid()) return io_error(path, "write it", errno);
    Status status = write_all(fd.get(), content, path);
    if (status.ok() && ::fsync(fd.get()) != 0) status = io_error(path, "write it", errno);
    if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) status = io_error(path, "write it", errno);
    if (!status.ok()) {
      ::unlink(temporary.c_str());
      return status;
    }
  }
  return sync_folder(path.parent_path());
}

Status make_folders(const std::filesystem::path& path) {
  if (::mkdir(path.c_str(), 0755) == 0) return sync_folder(path.parent_path());
  if (errno == EEXIST) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) return {};
    return Error{ErrorCode::kIo, fmt::format("{}: a folder was expected here; move this file away", path.string())};
  }
  if (errno != ENOENT || path == path.parent_path()) return io_error(path, "make this folder", errno);
  CARAT_CHECK(make_folders(path.parent_path()));
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return io_error(path, "make this folder", errno);
  return sync_folder(path.parent_path());
}

Status sync_folder(const std::filesystem::path& path) {
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return io_error(path, "open it", errno);
  // Some file systems cannot sync a folder; they say EINVAL, and nothing more can be done there.
  if (::fsync(fd.get()) != 0 && errno != EINVAL) return io_error(path, "write it", errno);
  return {};
}

Result<std::string> read_small_file(const std::filesystem::path& path, size_t limit) {
  CARAT_TRY(const OwnedFd fd, open_in_store(path));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return io_error(path, "look at it", errno);
  if (!S_ISREG(info.st_mode)) return Error{ErrorCode::kIo, path.string() + ": is no regular file"};
  std::string content;
  std::array<char, 16384> buffer{};
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error(path, "read it", errno);
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<size_t>(got));
    if (content.size() > limit) {
      return Error{ErrorCode::kCorruptFile, fmt::format("{}: longer than {} bytes", path.string(), limit)};
    }
  }
}

}  // namespace carat
