// The reserve is handed out from its front, and is whole again when everything has come back: what is destroyed needs it
// for a moment only.
#include "base/json.h"

#include <array>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <new>

namespace carat {
namespace {

constexpr size_t kReserveBytes = 256 << 10;  // JSON of 16,000 values side by side

class Reserve {
 public:
  void* take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    bytes = (bytes + kAlign - 1) / kAlign * kAlign;
    if (bytes > bytes_.size() - used_) return nullptr;
    void* data = bytes_.data() + used_;
    used_ += bytes;
    ++pieces_;
    return data;
  }
  // False if it came from elsewhere.
  bool give_back(const void* data) {
    const std::less<> before;
    if (before(data, bytes_.data()) || !before(data, bytes_.data() + bytes_.size())) return false;
    const std::lock_guard lock(mutex_);
    if (--pieces_ == 0) used_ = 0;
    return true;
  }

 private:
  static constexpr size_t kAlign = alignof(std::max_align_t);

  std::mutex mutex_;
  alignas(kAlign) std::array<std::byte, kReserveBytes> bytes_{};
  size_t used_ = 0, pieces_ = 0;
};

constinit Reserve reserve;  // never destroyed in effect: its members need no destruction

}  // namespace

void* allocate_json(size_t bytes) {
  if (void* data = ::operator new(bytes, std::nothrow)) return data;
  if (void* data = reserve.take(bytes)) return data;
  throw std::bad_alloc();
}

void deallocate_json(void* data) noexcept {
  if (!reserve.give_back(data)) ::operator delete(data);
}

}  // namespace carat
