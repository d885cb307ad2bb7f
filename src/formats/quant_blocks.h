// The quantised blocks of ggml's formats, byte for byte as they lie in a file (ggml-common.h and gguf.md of ggml).
// Conventions: `d` is a scale and `m` or `dmin` a minimum, both IEEE half bits; qs packs the low bits of the elements,
// qh their high bits. What the bits mean is written down once, in dequant.cc, which is the specification.
#pragma once

#include <cstdint>

namespace carat {

// Blocks of 32 elements. Nibble j of qs: the low half of byte j is element j, the high half element j + 16.

struct BlockQ4_0 {  // x = d * (q - 8)
  uint16_t d;
  uint8_t qs[16];
};
struct BlockQ4_1 {  // x = d * q + m
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];
};
struct BlockQ5_0 {  // x = d * (q - 16); bit j of qh (little-endian) is bit 4 of element j
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
};
struct BlockQ5_1 {  // x = d * q + m
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];
  uint8_t qs[16];
};
struct BlockQ8_0 {  // x = d * q
  uint16_t d;
  int8_t qs[32];
};
struct BlockIQ4_NL {  // x = d * kIq4Values[q]
  uint16_t d;
  uint8_t qs[16];
};

// Blocks of 256 elements, in sub-blocks of 16 or 32 with small integer scales of their own.

struct BlockQ2_K {  // 16 sub-blocks of 16: x = d * (s & 15) * q - dmin * (s >> 4)
  uint8_t scales[16];
  uint8_t qs[64];  // byte 32 * n + l, bits 2 * j and 2 * j + 1: element 128 * n + 32 * j + l
  uint16_t d;
  uint16_t dmin;
};
struct BlockQ3_K {     // 16 sub-blocks of 16: x = d * (s - 32) * (q - 4), q of 3 bits
  uint8_t hmask[32];   // byte l, bit 4 * n + j: bit 2 of element 128 * n + 32 * j + l
  uint8_t qs[64];      // as in Q2_K
  uint8_t scales[12];  // 16 scales of 6 bits: low nibbles in bytes 0..7, two high bits each in bytes 8..11
  uint16_t d;
};
struct BlockQ4_K {  // 8 sub-blocks of 32: x = d * s * q - dmin * m
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];  // 8 scales and 8 minima of 6 bits: see k_scale_min()
  uint8_t qs[128];     // byte 32 * g + l: low nibble element 64 * g + l, high nibble element 64 * g + 32 + l
};
struct BlockQ5_K {  // 8 sub-blocks of 32: x = d * s * q - dmin * m
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];   // byte l, bit b: bit 4 of element 32 * b + l
  uint8_t qs[128];  // as in Q4_K
};
struct BlockQ6_K {    // 16 sub-blocks of 16: x = d * s * (q - 32)
  uint8_t ql[128];    // half n (64 bytes), byte l: low nibble element 128 * n + l, high nibble element 128 * n + 64 + l
  uint8_t qh[64];     // half n (32 bytes), byte l, bits 2 * j and 2 * j + 1: bits 4, 5 of element 128 * n + 32 * j + l
  int8_t scales[16];  // element / 16
  uint16_t d;
};
struct BlockIQ4_XS {  // 8 sub-blocks of 32: x = d * (s - 32) * kIq4Values[q]
  uint16_t d;
  uint16_t scales_h;    // bits 2 * b and 2 * b + 1: bits 4, 5 of scale b
  uint8_t scales_l[4];  // nibble b: bits 0..3 of scale b
  uint8_t qs[128];      // sub-block b (16 bytes): nibbles as in the blocks of 32
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockIQ4_NL) == 18 && sizeof(BlockIQ4_XS) == 136);
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144);
static_assert(sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);

// The non-linear grid of IQ4_NL and IQ4_XS.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct ScaleMin {
  uint8_t scale;
  uint8_t min;
};

// Scale and minimum (6 bits each) of sub-block 0..7 of a Q4_K or Q5_K block.
constexpr ScaleMin k_scale_min(const uint8_t (&scales)[12], int sub) {
  const auto bits = [](int value) { return static_cast<uint8_t>(value); };
  if (sub < 4) return {bits(scales[sub] & 63), bits(scales[sub + 4] & 63)};
  return {bits((scales[sub + 4] & 15) | ((scales[sub - 4] >> 6) << 4)),
          bits((scales[sub + 4] >> 4) | ((scales[sub] >> 6) << 4))};
}

// Writes what k_scale_min() reads. The array must be zero where nothing has been written yet.
constexpr void set_k_scale_min(uint8_t (&scales)[12], int sub, int scale, int min) {
  const auto merge = [&scales](int at, int bits) { scales[at] = static_cast<uint8_t>(scales[at] | bits); };
  if (sub < 4) {
    merge(sub, scale);
    merge(sub + 4, min);
  } else {
    merge(sub + 4, (scale & 15) | ((min & 15) << 4));
    merge(sub - 4, (scale >> 4) << 6);
    merge(sub, (min >> 4) << 6);
  }
}

// Scale of sub-block 0..15 of a Q3_K block, as stored: the formula subtracts 32.
constexpr uint8_t q3_scale(const uint8_t (&scales)[12], int sub) {
  const int low = sub < 8 ? scales[sub] & 15 : scales[sub - 8] >> 4;
  const int high = (scales[8 + sub % 4] >> (2 * (sub / 4))) & 3;
  return static_cast<uint8_t>(low | (high << 4));
}

constexpr void set_q3_scale(uint8_t (&scales)[12], int sub, int stored) {
  uint8_t& low = scales[sub % 8];
  uint8_t& high = scales[8 + sub % 4];
  low = static_cast<uint8_t>(low | ((stored & 15) << (sub < 8 ? 0 : 4)));
  high = static_cast<uint8_t>(high | ((stored >> 4) << (2 * (sub / 4))));
}

// Scale of sub-block 0..7 of an IQ4_XS block, as stored: the formula subtracts 32.
constexpr uint8_t iq4_xs_scale(const BlockIQ4_XS& block, int sub) {
  const int low = (block.scales_l[sub / 2] >> (4 * (sub % 2))) & 15;
  const int high = (block.scales_h >> (2 * sub)) & 3;
  return static_cast<uint8_t>(low | (high << 4));
}

constexpr void set_iq4_xs_scale(BlockIQ4_XS& block, int sub, int stored) {
  block.scales_l[sub / 2] = static_cast<uint8_t>(block.scales_l[sub / 2] | ((stored & 15) << (4 * (sub % 2))));
  block.scales_h = static_cast<uint16_t>(block.scales_h | ((stored >> 4) << (2 * sub)));
}

}  // namespace carat
