// The handler runs on whichever thread read beyond the end, so it only looks into a table of atomics and calls mmap: a
// page of zeros is laid over the page that is gone, and the read goes on.
#include "base/file_map.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/io_error.h"
#include "base/printable.h"

namespace carat {
namespace {

const auto page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));

// What Git leaves in the place of a large file whose content was not fetched (git-lfs, docs/spec.md).
constexpr std::string_view kLfsPointer = "version https://git-lfs.github.com/spec/v1";

// The maps that there are, for the handler of SIGBUS, which may call nothing that locks or allocates.
struct Region {
  std::atomic<const std::byte*> begin{nullptr};
  std::atomic<size_t> size{0};
  std::atomic<bool> damaged{false};
};
std::array<Region, 4096> regions;

Region* region_of(const std::byte* begin) {
  const auto found =
      std::find_if(regions.begin(), regions.end(), [&](const Region& r) { return r.begin.load() == begin; });
  return begin == nullptr || found == regions.end() ? nullptr : &*found;
}

// A page of a map that has no file behind it any more: zeros from here to the map's end, and a note. Any other SIGBUS ends
// the program as before.
void on_bus_error(int number, siginfo_t* info, void*) {
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  for (Region& region : regions) {
    const std::byte* begin = region.begin.load();
    const size_t size = region.size.load();
    if (begin == nullptr || address < begin || address >= begin + size) continue;
    const auto page = reinterpret_cast<uintptr_t>(address) / page_bytes * page_bytes;
    const size_t rest = reinterpret_cast<uintptr_t>(begin) + size - page;
    region.damaged = true;
    if (::mmap(reinterpret_cast<void*>(page), rest, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
        MAP_FAILED) {
      return;
    }
  }
  std::signal(number, SIG_DFL);
}

// More maps than regions go without: they end as they did before.
void watch(const std::byte* begin, size_t size) {
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    return ::sigaction(SIGBUS, &action, nullptr) == 0;
  }();
  if (!installed) return;
  for (Region& region : regions) {
    const std::byte* none = nullptr;
    size_t unclaimed = 0;
    if (!region.size.compare_exchange_strong(unclaimed, size)) continue;
    region.damaged = false;
    region.begin.compare_exchange_strong(none, begin);
    return;
  }
}

void unwatch(const std::byte* begin) {
  if (Region* region = region_of(begin)) {
    region->begin = nullptr;
    region->size = 0;
  }
}

int64_t modified_ns(const struct stat& info) {
  return info.st_mtim.tv_sec * int64_t{1'000'000'000} + info.st_mtim.tv_nsec;
}

bool is_lfs_pointer(std::span<const std::byte> bytes) {
  return bytes.size() >= kLfsPointer.size() && std::memcmp(bytes.data(), kLfsPointer.data(), kLfsPointer.size()) == 0;
}

}  // namespace

Result<FileMap> FileMap::open(const std::filesystem::path& path) {
  FileMap map;
  map.path_ = path;
  CARAT_TRY(map.fd_, open_regular(path));
  struct stat info {};
  if (::fstat(map.fd_.get(), &info) != 0) return io_error(path, "look at it", errno);
  map.size_ = static_cast<size_t>(info.st_size);
  map.modified_ns_ = modified_ns(info);
  map.inode_ = info.st_ino;
  if (map.size_ != 0) {
    void* data = ::mmap(nullptr, map.size_, PROT_READ, MAP_PRIVATE, map.fd_.get(), 0);
    if (data == MAP_FAILED) {
      return Error{errno == ENOMEM ? ErrorCode::kOutOfMemory : ErrorCode::kIo,
                   one_line(path.string()) + ": cannot map it: " + std::strerror(errno)};
    }
    map.data_ = static_cast<const std::byte*>(data);
    watch(map.data_, map.size_);
  }
  if (is_lfs_pointer(map.bytes())) {
    return Error{ErrorCode::kCorruptFile, path.string() +
                                              ": is a Git LFS pointer, not the file itself: run `git lfs "
                                              "pull` where it was cloned"};
  }
  return map;
}

FileMap::FileMap(FileMap&& other) noexcept { *this = std::move(other); }

FileMap& FileMap::operator=(FileMap&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  std::swap(modified_ns_, other.modified_ns_);
  std::swap(inode_, other.inode_);
  return *this;
}

FileMap::~FileMap() {
  if (data_ == nullptr) return;
  unwatch(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

Status FileMap::check() const {
  const Region* region = region_of(data_);
  struct stat info {};
  // A file that was replaced or removed is still there for the map; one that was written to is not what it was.
  const bool written = ::stat(path_.c_str(), &info) == 0 && info.st_ino == inode_ &&
                       (static_cast<size_t>(info.st_size) != size_ || modified_ns(info) != modified_ns_);
  if (!written && (region == nullptr || !region->damaged)) return {};
  return Error{ErrorCode::kIo,
               path_.string() + ": the file changed while it was read; start again when nobody writes to it"};
}

Status FileMap::whole() const {
  const Region* region = region_of(data_);
  if (region == nullptr || !region->damaged) return {};
  return Error{ErrorCode::kIo, one_line(path_.string()) + ": the file was cut short while it was used"};
}

void FileMap::leave_cache() const {
  if (size_ == 0) return;
  ::madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);  // mapped pages would stay
  ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
}

Status check(const FileMaps& maps) {
  if (!maps) return {};
  for (const FileMap& map : *maps) CARAT_CHECK(map.check());
  return {};
}

Status whole(const FileMaps& maps) {
  if (!maps) return {};
  for (const FileMap& map : *maps) CARAT_CHECK(map.whole());
  return {};
}

void release_pages(std::span<const std::byte> bytes) {
  const auto begin = (reinterpret_cast<uintptr_t>(bytes.data()) + page_bytes - 1) / page_bytes * page_bytes;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size()) / page_bytes * page_bytes;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace carat
