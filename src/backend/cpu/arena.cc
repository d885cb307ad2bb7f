#include "backend/cpu/arena.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <utility>

namespace carat::cpu {

Result<Arena> Arena::allocate(size_t bytes, const char* purpose) {
  constexpr size_t kHugePage = size_t{2} << 20;
  Arena arena;
  if (bytes == 0) return arena;
  const size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* data = ::mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return Error{ErrorCode::kOutOfMemory, fmt::format("cannot get {} MiB of memory for {}", size >> 20, purpose)};
  }
  // Give back what lies before the first 2 MiB border and after the end.
  const auto begin = reinterpret_cast<uintptr_t>(data);
  const uintptr_t aligned = (begin + kHugePage - 1) / kHugePage * kHugePage;
  if (aligned != begin) ::munmap(data, aligned - begin);
  if (begin + kHugePage != aligned) ::munmap(reinterpret_cast<void*>(aligned + size), begin + kHugePage - aligned);
  ::madvise(reinterpret_cast<void*>(aligned), size, MADV_HUGEPAGE);
  arena.data_ = reinterpret_cast<uint8_t*>(aligned);
  arena.size_ = size;
  return arena;
}

Arena::Arena(Arena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Arena::~Arena() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace carat::cpu
