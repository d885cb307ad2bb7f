// A hash of short byte strings: multiply and fold, eight bytes at a time. It is not keyed: whoever uses it bounds what
// collisions can cost.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace carat {

inline uint64_t hash_bytes(std::string_view bytes) {
  __extension__ using Wide = unsigned __int128;
  const auto fold = [](uint64_t a, uint64_t b) {
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  const char* p = bytes.data();
  size_t left = bytes.size();
  const auto load = [&p](size_t at, size_t size) {
    uint64_t word = 0;
    std::memcpy(&word, p + at, size);
    return word;
  };
  uint64_t hash = 0x9E3779B97F4A7C15 ^ left;
  for (; left > 8; left -= 8, p += 8) hash = fold(hash ^ load(0, 8), 0xA0761D6478BD642F);
  uint64_t tail = 0;  // at most 8 bytes, in two loads that overlap
  if (left >= 4) {
    tail = load(0, 4) | load(left - 4, 4) << 32;
  } else if (left > 0) {
    tail = load(0, 1) | load(left / 2, 1) << 8 | load(left - 1, 1) << 16;
  }
  return fold(hash ^ tail, 0xE7037ED1A0B428DB);
}

}  // namespace carat
