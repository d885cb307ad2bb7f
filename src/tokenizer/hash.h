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
  uint64_t hash = 0x9E3779B97F4A7C15 ^ left;
  for (; left >= 8; left -= 8, p += 8) {
    uint64_t word = 0;
    std::memcpy(&word, p, 8);
    hash = fold(hash ^ word, 0xA0761D6478BD642F);
  }
  uint64_t tail = 0;
  for (size_t i = 0; i < left; ++i) tail |= static_cast<uint64_t>(static_cast<uint8_t>(p[i])) << (8 * i);
  return fold(hash ^ tail, 0xE7037ED1A0B428DB);
}

}  // namespace carat
