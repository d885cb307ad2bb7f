// Random numbers by counter: draw n of a seed is a function of (seed, n) and of nothing else, so a sequence that is
// moved, replayed or computed in another batch draws the same numbers. The mixer is splitmix64's (Steele, Lea, Flood,
// 2014).
#pragma once

#include <cstdint>

namespace carat {

inline constexpr uint64_t kGolden64 = 0x9E3779B97F4A7C15u;  // 2^64 / the golden ratio: the generator's step

constexpr uint64_t mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// Uniform in [0, 1), a multiple of 2^-53. Neighbouring seeds give unrelated streams: the seed is mixed by itself first.
constexpr double uniform_draw(uint64_t seed, uint64_t n) {
  return static_cast<double>(mix64(mix64(seed + kGolden64) + (n + 1) * kGolden64) >> 11) * 0x1p-53;
}

}  // namespace carat
