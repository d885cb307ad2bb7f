// Write beside, sync, rename, sync the folder: the order that makes a file whole or absent.
#include "base/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/io_error.h"
#include "base/printable.h"

namespace carat {
namespace {

constexpr size_t kBufferBytes = 1 << 20;
constexpr size_t kMostOfName = 200;  // of the 255 bytes that a name may have

// Where the bytes shall go in the end: what a link leads to, or the path itself.
Result<std::filesystem::path> target_of(const std::filesystem::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT && ::lstat(path.c_str(), &info) != 0) return path;  // nothing is there
    return io_error(path, "write it", errno);
  }
  if (!S_ISREG(info.st_mode)) {
    return Error{ErrorCode::kIo, fmt::format("{}: it is {}, and only a file is replaced", one_line(path.string()),
                                             kind_of_file(info.st_mode))};
  }
  std::error_code error;
  std::filesystem::path real = std::filesystem::canonical(path, error);
  if (error) return io_error(path, "write it", error.value());
  return real;
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path, unsigned mode) {
  static std::atomic<int> counter = 0;
  CARAT_TRY(std::filesystem::path target, target_of(path));
  std::filesystem::path temporary =
      folder_of(target) / fmt::format("{}{}-{}-{}", kTemporaryPrefix, target.filename().string().substr(0, kMostOfName),
                                      ::getpid(), counter++);
  OwnedFd fd(::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd.valid()) return io_error(path, "write it", errno);
  return AtomicFile(std::move(target), std::move(temporary), std::move(fd));
}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(fd_, other.fd_);
  std::swap(buffer_, other.buffer_);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (fd_.valid()) ::unlink(temporary_.c_str());
}

Status AtomicFile::flush() {
  CARAT_CHECK(write_all(fd_.get(), buffer_, path_));
  buffer_.clear();
  return {};
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (buffer_.size() + text.size() >= kBufferBytes) CARAT_CHECK(flush());
  if (text.size() >= kBufferBytes) return write_all(fd_.get(), text, path_);
  buffer_ += text;
  return {};
}

Status AtomicFile::rewrite(uint64_t offset, std::string_view text) {
  CARAT_CHECK(flush());
  while (!text.empty()) {
    const ssize_t written = ::pwrite(fd_.get(), text.data(), text.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return io_error(path_, "write it", written == 0 ? EIO : errno);
    text.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return {};
}

Status AtomicFile::commit() {
  CARAT_CHECK(flush());
  if (::fsync(fd_.get()) != 0) return io_error(path_, "write it", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return io_error(path_, "write it", errno);
  fd_ = OwnedFd();
  return sync_folder(folder_of(path_));
}

Status write_atomically(const std::filesystem::path& path, std::string_view content, unsigned mode) {
  CARAT_TRY(AtomicFile file, AtomicFile::create(path, mode));
  CARAT_CHECK(file.write(content));
  return file.commit();
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

Result<OwnedFd> open_in_store(const std::filesystem::path& path) {
  struct stat named {};
  if (::lstat(path.c_str(), &named) != 0) return io_error(path, "open it", errno);
  const bool is_link = S_ISLNK(named.st_mode);
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | (is_link ? 0 : O_NOFOLLOW)));
  const int problem = fd.valid() ? 0 : errno;
  if (!is_link) {
    if (problem != 0) return io_error(path, "open it", problem);
    return fd;
  }
  std::error_code ignored;
  const std::string target = std::filesystem::read_symlink(path, ignored).string();
  if (problem != 0) {
    return Error{ErrorCode::kIo, fmt::format("{}: is a symbolic link to {}, which cannot be opened: {}",
                                             one_line(path.string()), target, std::strerror(problem))};
  }
  struct stat opened {};
  if (::fstat(fd.get(), &opened) != 0) return io_error(path, "look at it", errno);
  if (opened.st_uid != named.st_uid) {
    return Error{ErrorCode::kIo,
                 fmt::format("{}: is a symbolic link to {}, which belongs to somebody else (user {}, not "
                             "{}), so it is not followed",
                             one_line(path.string()), target, opened.st_uid, named.st_uid)};
  }
  return fd;
}

Result<std::string> read_small_file(const std::filesystem::path& path, size_t limit) {
  CARAT_TRY(const OwnedFd fd, open_in_store(path));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return io_error(path, "look at it", errno);
  if (!S_ISREG(info.st_mode)) {
    return Error{ErrorCode::kIo,
                 fmt::format("{}: it is {}, expected a file", one_line(path.string()), kind_of_file(info.st_mode))};
  }
  auto text = read_all(fd.get(), path.string(), limit);
  if (!text.ok() && text.error().code == ErrorCode::kTooLong) text.error().code = ErrorCode::kCorruptFile;
  return text;
}

}  // namespace carat
