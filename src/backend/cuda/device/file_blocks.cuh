// 32 columns of a row of each file format (ggml's; formats/quant_blocks.h has the structs, formats/dequant.cc what they
// mean) as integers and scales, the way tiles hold them.
#pragma once

#include "backend/cuda/device/math.cuh"

namespace carat::cuda {

struct FileScales {
  uint16_t scale, min;  // f16; the minimum's sign is that of an addition
  uint8_t sub[2], sub_min[2];
};

CARAT_DEVICE uint16_t file_u16(const uint8_t* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }

// The i-th of the eight 6-bit scales and minima of Q4_K and Q5_K.
CARAT_DEVICE void k_scale(const uint8_t* packed, int i, FileScales& s) {
  if (i < 4) {
    s.sub[0] = packed[i] & 63;
    s.sub_min[0] = packed[i + 4] & 63;
  } else {
    s.sub[0] = static_cast<uint8_t>((packed[i + 4] & 15) | ((packed[i - 4] >> 6) << 4));
    s.sub_min[0] = static_cast<uint8_t>((packed[i + 4] >> 4) | ((packed[i] >> 6) << 4));
  }
}

template <TileType kType>
CARAT_DEVICE void read_file_block(const uint8_t* row, int block, uint8_t* q, FileScales& s) {
  constexpr FileBlock kBlock = file_block(kType);
  const int sub = block % 8;  // of a super-block
  const uint8_t* b = row + static_cast<int64_t>(kBlock.columns == 256 ? block / 8 : block) * kBlock.bytes;
  const auto nibbles = [&](const uint8_t* p) {
    for (int i = 0; i < 16; ++i) {
      q[i] = p[i] & 15;
      q[16 + i] = p[i] >> 4;
    }
  };
  const auto fifths = [&](const uint8_t* p) {
    for (int i = 0; i < 32; ++i) q[i] = static_cast<uint8_t>(q[i] | ((p[i / 8] >> (i % 8)) & 1) << 4);
  };
  if constexpr (kType == TileType::kQ4_0 || kType == TileType::kIQ4_NL) {
    s.scale = file_u16(b);
    nibbles(b + 2);
  } else if constexpr (kType == TileType::kQ4_1) {
    s.scale = file_u16(b);
    s.min = file_u16(b + 2);
    nibbles(b + 4);
  } else if constexpr (kType == TileType::kQ5_0) {
    s.scale = file_u16(b);
    nibbles(b + 6);
    fifths(b + 2);
  } else if constexpr (kType == TileType::kQ5_1) {
    s.scale = file_u16(b);
    s.min = file_u16(b + 2);
    nibbles(b + 8);
    fifths(b + 4);
  } else if constexpr (kType == TileType::kQ8_0) {
    s.scale = file_u16(b);
    for (int i = 0; i < 32; ++i) q[i] = b[2 + i];
  } else if constexpr (kType == TileType::kQ2_K) {
    s.scale = file_u16(b + 80);
    s.min = static_cast<uint16_t>(file_u16(b + 82) ^ 0x8000);
    for (int half = 0; half < 2; ++half) {
      s.sub[half] = b[2 * sub + half] & 15;
      s.sub_min[half] = b[2 * sub + half] >> 4;
    }
    for (int i = 0; i < 32; ++i) q[i] = (b[16 + sub / 4 * 32 + i] >> (2 * (sub % 4))) & 3;
  } else if constexpr (kType == TileType::kQ3_K) {
    s.scale = file_u16(b + 108);
    for (int half = 0; half < 2; ++half) {
      const int i = 2 * sub + half;
      const int low = i < 8 ? b[96 + i] & 15 : b[96 + i - 8] >> 4;
      const int high = (b[104 + i % 4] >> (2 * (i / 4))) & 3;
      s.sub[half] = static_cast<uint8_t>((low | high << 4) - 32);
    }
    for (int i = 0; i < 32; ++i) {
      q[i] = static_cast<uint8_t>(((b[32 + sub / 4 * 32 + i] >> (2 * (sub % 4))) & 3) | ((b[i] >> sub) & 1) << 2);
    }
  } else if constexpr (kType == TileType::kQ4_K) {
    s.scale = file_u16(b);
    s.min = static_cast<uint16_t>(file_u16(b + 2) ^ 0x8000);
    k_scale(b + 4, sub, s);
    for (int i = 0; i < 32; ++i) q[i] = (b[16 + sub / 2 * 32 + i] >> (4 * (sub % 2))) & 15;
  } else if constexpr (kType == TileType::kQ5_K) {
    s.scale = file_u16(b);
    s.min = static_cast<uint16_t>(file_u16(b + 2) ^ 0x8000);
    k_scale(b + 4, sub, s);
    for (int i = 0; i < 32; ++i) {
      q[i] = static_cast<uint8_t>(((b[48 + sub / 2 * 32 + i] >> (4 * (sub % 2))) & 15) | ((b[16 + i] >> sub) & 1) << 4);
    }
  } else if constexpr (kType == TileType::kQ6_K) {
    s.scale = file_u16(b + 208);
    s.sub[0] = b[192 + 2 * sub];
    s.sub[1] = b[192 + 2 * sub + 1];
    const uint8_t* low = b + sub / 4 * 64 + sub % 2 * 32;
    const uint8_t* high = b + 128 + sub / 4 * 32;
    for (int i = 0; i < 32; ++i) {
      q[i] = static_cast<uint8_t>(((low[i] >> (4 * (sub % 4 / 2))) & 15) | ((high[i] >> (2 * (sub % 4))) & 3) << 4);
    }
  } else if constexpr (kType == TileType::kIQ4_XS) {
    s.scale = file_u16(b);
    const int low = (b[4 + sub / 2] >> (4 * (sub % 2))) & 15;
    const int high = (file_u16(b + 2) >> (2 * sub)) & 3;
    s.sub[0] = static_cast<uint8_t>((low | high << 4) - 32);
    nibbles(b + 8 + sub * 16);
  }
}

}  // namespace carat::cuda
