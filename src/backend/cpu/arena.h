// Memory straight from the system, in huge pages where it has them: weights, KV cache and activations.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace carat::cpu {

class Arena {
 public:
  // Zeroed when first touched, 2 MiB aligned. Errors: kOutOfMemory, naming what it was for and how much.
  static Result<Arena> allocate(size_t bytes, const char* purpose);

  Arena() = default;
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// Lays out named pieces in one arena: first add() all, then allocate, then at() gives the pointers.
class Layout {
 public:
  // Offset of a piece of `count` elements, 64-byte aligned.
  template <class T>
  size_t add(size_t count) {
    const size_t offset = bytes_;
    bytes_ += (count * sizeof(T) + 63) / 64 * 64;
    return offset;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

}  // namespace carat::cpu
