// Overflow-checked arithmetic for everything that is computed from bytes of a file or of a request.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace carat {

template <std::integral T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) {
  T sum{};
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

template <std::integral T>
[[nodiscard]] constexpr std::optional<T> checked_mul(T a, T b) {
  T product{};
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// True if [offset, offset + size) lies within a buffer of `limit` bytes.
[[nodiscard]] constexpr bool in_range(uint64_t offset, uint64_t size, uint64_t limit) {
  return offset <= limit && size <= limit - offset;
}

template <std::integral T>
[[nodiscard]] constexpr T div_ceil(T a, T b) {
  return (a + b - 1) / b;
}

template <std::integral T>
[[nodiscard]] constexpr T round_up(T a, T multiple) {
  return div_ceil(a, multiple) * multiple;
}

}  // namespace carat
