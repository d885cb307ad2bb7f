// Once per model or per page: file blocks into tiles, pages copied.
#include "backend/cuda/device/file_blocks.cuh"
#include "backend/cuda/half_params.h"
#include "backend/cuda/device/tiles.cuh"

namespace carat::cuda {

// One row's 32 columns into its tile.
struct RepackBlock {
  const RepackParams& p;
  int row, block;  // row of the piece

  template <TileType kType>
  CARAT_METHOD void run() const {
    constexpr TileFormat kFormat = tile_format(kType);
    const int r = row % kTileRows, b = block % kTileBlocks;
    const int group = ((p.first_row + row) / kTileRows) * p.group_step + p.group_first;
    uint8_t* tile = p.tiles + (static_cast<int64_t>(group) * p.chunks + block / kTileBlocks) * kFormat.tile_bytes();
    const uint8_t* source = p.file + static_cast<int64_t>(row) * p.row_bytes;
    if constexpr (!kFormat.quantised()) {
      constexpr int kBytes = kFormat.bits / 8, kWide = 16 / kBytes;
      for (int i = 0; i < 32; ++i) {
        const int column = block * 32 + i;
        if (column >= p.columns) return;
        const int c = column % kTileColumns;
        for (int k = 0; k < kBytes; ++k) {
          tile[(c / kWide * kTileRows + r) * 16 + c % kWide * kBytes + k] = source[static_cast<int64_t>(column) * kBytes + k];
        }
      }
    } else {
      uint8_t q[32];
      FileScales s{};
      read_file_block<kType>(source, block, q, s);
      if constexpr (kFormat.bits == 8) {
        for (int i = 0; i < 32; ++i) tile[i / 16 * 512 + (b * kTileRows + r) * 16 + i % 16] = q[i];
      } else {
        for (int i = 0; i < 16; ++i) {
          tile[(b * kTileRows + r) * 16 + i] = static_cast<uint8_t>((q[i] & 15) | (q[16 + i] & 15) << 4);
        }
      }
      if constexpr (kFormat.bits == 5) {
        for (int i = 0; i < 4; ++i) {
          uint8_t byte = 0;
          for (int j = 0; j < 4; ++j) {
            byte = static_cast<uint8_t>(byte | (q[4 * j + i] >> 4) << (2 * j) | (q[16 + 4 * j + i] >> 4) << (2 * j + 1));
          }
          tile[kFormat.high_at() + (b * kTileRows + r) * 4 + i] = byte;
        }
      }
      if constexpr (kFormat.bits == 6) {
        for (int i = 0; i < 8; ++i) {
          uint8_t byte = 0;
          for (int j = 0; j < 4; ++j) byte = static_cast<uint8_t>(byte | (q[i / 4 * 16 + 4 * j + i % 4] >> 4) << (2 * j));
          tile[kFormat.high_at() + (b * kTileRows + r) * 8 + i] = byte;
        }
      }
      if constexpr (kFormat.super) {
        *reinterpret_cast<uint16_t*>(tile + kFormat.scale_at() + 2 * r) = s.scale;
        if constexpr (kFormat.min) *reinterpret_cast<uint16_t*>(tile + kFormat.min_at() + 2 * r) = s.min;
        for (int k = 0; k < kFormat.subs; ++k) {
          tile[kFormat.sub_at() + (b * kTileRows + r) * kFormat.subs + k] = s.sub[k];
          if constexpr (kFormat.min) tile[kFormat.sub_min_at() + (b * kTileRows + r) * kFormat.subs + k] = s.sub_min[k];
        }
      } else {
        *reinterpret_cast<uint16_t*>(tile + kFormat.scale_at() + 2 * (b * kTileRows + r)) = s.scale;
        if constexpr (kFormat.min) *reinterpret_cast<uint16_t*>(tile + kFormat.min_at() + 2 * (b * kTileRows + r)) = s.min;
      }
    }
  }
};

CARAT_KERNEL(repack_tiles, RepackParams, 256, 1) {
  const int blocks = (p.columns + 31) / 32;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * block_threads() + thread_index();
  if (item >= static_cast<int64_t>(p.rows) * blocks) return;
  for_type(p.type, RepackBlock{p, static_cast<int>(item / blocks), static_cast<int>(item % blocks)});
}

CARAT_DEVICE float file_float(const uint8_t* at, TileType type, int column) {
  if (type == TileType::kF32) return load<float>(at + static_cast<int64_t>(column) * 4);
  const auto bits = load<uint16_t>(at + static_cast<int64_t>(column) * 2);
  return type == TileType::kF16 ? half_to_float(bits) : bits_to_float(static_cast<uint32_t>(bits) << 16);
}

// A thread for eight columns of a row.
CARAT_KERNEL(half_repack, HalfRepackParams, 256, 1) {
  const int octets = (p.columns + 7) / 8;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * block_threads() + thread_index();
  if (item >= static_cast<int64_t>(p.rows) * octets) return;
  const auto row = static_cast<int>(item / octets), first = static_cast<int>(item % octets) * 8;
  const int to = p.first_row + row;
  uint8_t* at = p.tiles + (static_cast<int64_t>(to / kTileRows) * p.chunks + first / kTileColumns) * (kTileRows * kTileColumns * 2) +
                (first % kTileColumns / 8 * kTileRows + to % kTileRows) * 16;
  for (int i = 0; i < 8 && first + i < p.columns; ++i) {
    const float value = file_float(p.file + row * p.row_bytes, p.type, first + i) * p.scale;
    const uint16_t half = float_to_half(value);
    *reinterpret_cast<uint16_t*>(at + 2 * i) = half;
    if (p.planes == 2) *reinterpret_cast<uint16_t*>(at + p.plane + 2 * i) = float_to_half(value - half_to_float(half));
  }
}

struct LengthOfRow {
  const TileMatrix& m;
  int row;
  float* squares;

  template <TileType kType>
  CARAT_METHOD void run() const {
    for (int column = lane_index(); column < m.chunks * kTileColumns; column += 32) {
      const uint8_t* tile = m.data + (static_cast<int64_t>(row / kTileRows) * m.chunks + column / kTileColumns) * tile_format(kType).tile_bytes();
      const float value = tile_element_of<kType>(tile, row % kTileRows, column % kTileColumns);
      *squares = fma_rn(value, value, *squares);
    }
  }
};

// A warp for a row.
CARAT_KERNEL(row_length, RowLengthParams, 128, 1) {
  const int row = static_cast<int>(blockIdx.x) * 4 + warp_index();
  if (row >= p.matrix.rows) return;
  float squares = 0.0f;
  for_type(p.matrix.type, LengthOfRow{p.matrix, row, &squares});
  const float length = sqrt_rn(warp_halves(squares));
  if (lane_index() == 0) atomic_max(p.largest, float_bits(length));
}

// blockIdx: pair, layer piece.
CARAT_KERNEL(copy_pages, CopyPagesParams, 256, 1) {
  const int from = p.pairs[2 * blockIdx.x], to = p.pairs[2 * blockIdx.x + 1];
  const auto* source = reinterpret_cast<const Words4*>(p.base + from * p.page_bytes);
  auto* target = reinterpret_cast<Words4*>(p.base + to * p.page_bytes);
  for (int64_t i = thread_index(); i < p.page_bytes / 16; i += block_threads()) target[i] = source[i];
}

}  // namespace carat::cuda
