// Weights in device memory: tiles of 8 output rows x 128 columns (4 blocks of 32, a segment of the definition), the tiles of
// 8 rows one after the other along the columns, so that whoever computes 8 outputs reads one stream. A warp reads a tile
// either with a lane per (block, row), 16 bytes each, or as B fragments of mma.m16n8k32, 128 bytes in a row per block.
//
//   4 bits  [4 blocks][8 rows][4 words]: byte i of word j holds column 4j + i in its low half, 16 + 4j + i in its high half
//   5 bits  the same, then [4][8] words: bit 8i + 2j + h is the fifth bit of column 16h + 4j + i
//   6 bits  the same, then [4][8][2 h] words: bits 8i + 2j, 8i + 2j + 1 are the high bits of column 16h + 4j + i
//   8 bits  [2 h][4 blocks][8 rows][4 words], signed: word j of half h holds columns 16h + 4j ..
//   floats  [16 bytes' worth of columns][8 rows]
// then scales: [4][8] f16 scale, [4][8] f16 min; or [8] f16 scale, [8] f16 min, [4][8][subs] i8 sub-scale, u8 sub-min.
// 2- and 3-bit formats take 4 bits here. Rows and columns that are not there are zeros, with a scale of zero.
//
// Plain constants: this header is read by the host's compiler and by the device's.
#pragma once

namespace carat::cuda {

inline constexpr int kTileRows = 8;
inline constexpr int kTileColumns = 128;
inline constexpr int kTileBlocks = 4;

// In the order of DType (checked in cuda_weights.cc).
enum class TileType : int {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
};
inline constexpr int kTileTypes = 15;

// value = scale * (u - offset) + min, u the stored integer; `table`: scale * table[u].
struct TileFormat {
  int bits;  // as stored: 4, 5, 6, 8; 16 and 32 for floats
  int subs;  // scales a block: 1, or 2 (one for 16 columns)
  bool super;
  bool min;
  bool table;
  int offset;

  constexpr bool quantised() const { return bits < 16; }
  constexpr int high_at() const { return 512; }
  constexpr int scale_at() const { return bits == 8 ? 1024 : bits == 6 ? 768 : bits == 5 ? 640 : 512; }
  constexpr int min_at() const { return scale_at() + (super ? 16 : 64); }
  constexpr int sub_at() const { return scale_at() + (min ? 32 : 16); }
  constexpr int sub_min_at() const { return sub_at() + 32 * subs; }
  constexpr int tile_bytes() const {
    if (!quantised()) return kTileRows * kTileColumns * bits / 8;
    return super ? sub_at() + 32 * subs * (min ? 2 : 1) : scale_at() + (min ? 128 : 64);
  }
};

constexpr TileFormat tile_format(TileType type) {
  switch (type) {
    case TileType::kF32:
      return {32, 1, false, false, false, 0};
    case TileType::kF16:
    case TileType::kBF16:
      return {16, 1, false, false, false, 0};
    case TileType::kQ4_0:
      return {4, 1, false, false, false, 8};
    case TileType::kQ4_1:
      return {4, 1, false, true, false, 0};
    case TileType::kQ5_0:
      return {5, 1, false, false, false, 16};
    case TileType::kQ5_1:
      return {5, 1, false, true, false, 0};
    case TileType::kQ8_0:
      return {8, 1, false, false, false, 0};
    case TileType::kQ2_K:
      return {4, 2, true, true, false, 0};
    case TileType::kQ3_K:
      return {4, 2, true, false, false, 4};
    case TileType::kQ4_K:
      return {4, 1, true, true, false, 0};
    case TileType::kQ5_K:
      return {5, 1, true, true, false, 0};
    case TileType::kQ6_K:
      return {6, 2, true, false, false, 32};
    case TileType::kIQ4_NL:
      return {4, 1, false, false, true, 0};
    case TileType::kIQ4_XS:
      return {4, 1, true, false, true, 0};
  }
  return {};
}

// Bytes of a block of a file's format, and the columns that it covers.
struct FileBlock {
  int columns;
  int bytes;
};
constexpr FileBlock file_block(TileType type) {
  constexpr FileBlock kBlocks[kTileTypes] = {{1, 4},     {1, 2},     {1, 2},     {32, 18},  {32, 20},
                                             {32, 22},   {32, 24},   {32, 34},   {256, 84}, {256, 110},
                                             {256, 144}, {256, 176}, {256, 210}, {32, 18},  {256, 136}};
  return kBlocks[static_cast<int>(type)];
}

}  // namespace carat::cuda
