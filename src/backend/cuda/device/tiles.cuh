// Reading tiles (tile_format.h): words of four integers, scales, single elements.
#pragma once

#include "backend/cuda/device/math.cuh"

namespace carat::cuda {

// kIq4Values of formats/quant_blocks.h, four to a word.
inline constexpr uint32_t kIq4Low0 = 0xbfad9881, kIq4Low1 = 0xf6eaddcf, kIq4High0 = 0x26190d01, kIq4High1 = 0x71594535;

// table[n] for the four nibbles n in the low halves of a word's bytes.
CARAT_DEVICE uint32_t iq4_values(uint32_t nibbles) {
  uint32_t selector = nibbles | nibbles >> 4;  // the nibble of byte i at bits 4i: first pairs, then both pairs
  selector = (selector & 0xff) | ((selector >> 8) & 0xff00);
  const uint32_t low = choose_bytes(kIq4Low0, kIq4Low1, selector & 0x7777);
  const uint32_t high = choose_bytes(kIq4High0, kIq4High1, selector & 0x7777);
  const uint32_t is_high = ((nibbles >> 3) & 0x01010101) * 255;
  return (low & ~is_high) | (high & is_high);
}

// Columns 4j .. 4j + 3 and 16 + 4j .. of block b, row r, as bytes: unsigned, signed for 8 bits and for tables.
struct Words2 {
  uint32_t low, high;
};
template <TileType kType>
CARAT_DEVICE Words2 from_stored(uint32_t word, uint32_t fifths, const uint32_t* sixths, int j) {
  constexpr TileFormat kFormat = tile_format(kType);
  Words2 out{word & 0x0f0f0f0f, (word >> 4) & 0x0f0f0f0f};
  if constexpr (kFormat.bits == 5) {
    out.low |= ((fifths >> (2 * j)) & 0x01010101) << 4;
    out.high |= ((fifths >> (2 * j + 1)) & 0x01010101) << 4;
  }
  if constexpr (kFormat.bits == 6) {
    out.low |= ((sixths[0] >> (2 * j)) & 0x03030303) << 4;
    out.high |= ((sixths[1] >> (2 * j)) & 0x03030303) << 4;
  }
  if constexpr (kFormat.table) {
    out.low = iq4_values(out.low);
    out.high = iq4_values(out.high);
  }
  return out;
}
template <TileType kType>
CARAT_DEVICE Words2 tile_words(const uint8_t* tile, int b, int r, int j) {
  constexpr TileFormat kFormat = tile_format(kType);
  const auto* words = reinterpret_cast<const uint32_t*>(tile);
  const int at = (b * kTileRows + r) * 4 + j;
  if constexpr (kFormat.bits == 8) return {words[at], words[at + 128]};
  const auto* high = reinterpret_cast<const uint32_t*>(tile + kFormat.high_at());
  uint32_t fifths = 0;
  uint32_t sixths[2] = {0, 0};
  if constexpr (kFormat.bits == 5) fifths = high[b * kTileRows + r];
  if constexpr (kFormat.bits == 6) {
    sixths[0] = high[(b * kTileRows + r) * 2];
    sixths[1] = high[(b * kTileRows + r) * 2 + 1];
  }
  return from_stored<kType>(words[at], fifths, sixths, j);
}

struct TileScales {
  float scale[2], min[2];
};
// `base`: the tile's scales, wherever they lie now.
template <TileType kType>
CARAT_DEVICE TileScales tile_scales(const uint8_t* tile, int b, int r) {
  constexpr TileFormat kFormat = tile_format(kType);
  TileScales out{};
  if constexpr (kFormat.super) {
    const float scale = half_to_float(load<uint16_t>(tile + kFormat.scale_at() + 2 * r));
    const auto* sub = reinterpret_cast<const int8_t*>(tile + kFormat.sub_at()) + (b * kTileRows + r) * kFormat.subs;
    CARAT_UNROLL for (int s = 0; s < kFormat.subs; ++s) out.scale[s] = scale * static_cast<float>(sub[s]);
    if constexpr (kFormat.min) {
      const float min = half_to_float(load<uint16_t>(tile + kFormat.min_at() + 2 * r));
      const uint8_t* sub_min = tile + kFormat.sub_min_at() + (b * kTileRows + r) * kFormat.subs;
      CARAT_UNROLL for (int s = 0; s < kFormat.subs; ++s) out.min[s] = min * static_cast<float>(sub_min[s]);
    }
  } else {
    out.scale[0] = half_to_float(load<uint16_t>(tile + kFormat.scale_at() + 2 * (b * kTileRows + r)));
    if constexpr (kFormat.min) out.min[0] = half_to_float(load<uint16_t>(tile + kFormat.min_at() + 2 * (b * kTileRows + r)));
  }
  return out;
}

// One element as a float: value = scale * (u - offset), or fma(u, scale, min) where there are minima.
template <TileType kType>
CARAT_DEVICE float tile_element_of(const uint8_t* tile, int r, int column) {
  constexpr TileFormat kFormat = tile_format(kType);
  if constexpr (kType == TileType::kF32) {
    return load<float>(tile + ((column / 4) * kTileRows + r) * 16 + column % 4 * 4);
  } else if constexpr (!kFormat.quantised()) {
    const uint16_t bits = load<uint16_t>(tile + ((column / 8) * kTileRows + r) * 16 + column % 8 * 2);
    return kType == TileType::kF16 ? half_to_float(bits) : bits_to_float(static_cast<uint32_t>(bits) << 16);
  } else {
    const int b = column / 32, half = column % 32 / 16, j = column % 16 / 4, i = column % 4;
    const Words2 words = tile_words<kType>(tile, b, r, j);
    const uint32_t byte = ((half == 0 ? words.low : words.high) >> (8 * i)) & 255;
    constexpr bool kSigned = kFormat.bits == 8 || kFormat.table;
    const int integer = (kSigned ? static_cast<int>(static_cast<int8_t>(byte)) : static_cast<int>(byte)) - kFormat.offset;
    const TileScales s = tile_scales<kType>(tile, b, r);
    const int sub = kFormat.subs == 2 ? half : 0;
    const auto value = static_cast<float>(integer);
    return kFormat.min ? fma_rn(value, s.scale[sub], s.min[sub]) : value * s.scale[sub];
  }
}

// Calls body.template operator()<type>() for the type of a matrix.
template <class Body>
CARAT_DEVICE void for_type(TileType type, Body body) {
  switch (type) {
    case TileType::kF32: return body.template run<TileType::kF32>();
    case TileType::kF16: return body.template run<TileType::kF16>();
    case TileType::kBF16: return body.template run<TileType::kBF16>();
    case TileType::kQ4_0: return body.template run<TileType::kQ4_0>();
    case TileType::kQ4_1: return body.template run<TileType::kQ4_1>();
    case TileType::kQ5_0: return body.template run<TileType::kQ5_0>();
    case TileType::kQ5_1: return body.template run<TileType::kQ5_1>();
    case TileType::kQ8_0: return body.template run<TileType::kQ8_0>();
    case TileType::kQ2_K: return body.template run<TileType::kQ2_K>();
    case TileType::kQ3_K: return body.template run<TileType::kQ3_K>();
    case TileType::kQ4_K: return body.template run<TileType::kQ4_K>();
    case TileType::kQ5_K: return body.template run<TileType::kQ5_K>();
    case TileType::kQ6_K: return body.template run<TileType::kQ6_K>();
    case TileType::kIQ4_NL: return body.template run<TileType::kIQ4_NL>();
    case TileType::kIQ4_XS: return body.template run<TileType::kIQ4_XS>();
  }
}

CARAT_DEVICE const uint8_t* tile_at(const TileMatrix& m, int group, int chunk) {
  return m.data + (static_cast<int64_t>(group) * m.chunks + chunk) * tile_format(m.type).tile_bytes();
}

}  // namespace carat::cuda
