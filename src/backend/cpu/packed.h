// Packed weights: what the kernels read. Of the same size on every ISA, and the same layout but for the order of the
// integers in a block: x86 and portable have it as below, Arm as in kernels/layout_planes.inl.
//
// Sixteen output rows make a panel, and a panel is one sequential stream: block after block of 32 columns, all sixteen
// rows of a block together. Integers of b bits lie bit-packed in 16-bit lanes (16 elements of a lane fill exactly b
// words), so that unpacking is a shift and a mask, never a widening, and a vector of lanes times a broadcast pair of
// activations is one vpmaddwd whose 32-bit lanes are output rows. Lane width therefore changes nothing in the results.
//
//   word lane (row r, parity p), element e  <->  column 2e + p of the block, e = 0..15
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/dtype.h"

namespace carat::cpu {

inline constexpr int kPanelRows = 16;
inline constexpr int kBlock = 32;        // columns of a block
inline constexpr int kSuperBlock = 256;  // columns that share a float scale in the K formats

// How the integers of a format are packed and scaled. value = scale * (u - offset) + min, u unsigned of `bits` bits, or
// scale * (table[u] - offset) for the IQ4 formats.
//   kHalf:  a block is  [f16 scale x16] [f16 min x16]? [words]                       scale = the f16
//   kSuper: 256 columns are  [f16 d x16] [f16 -dmin x16]?  then per block
//           [i8 sub-scale x16 per sub-block] [u8 sub-min x16 per sub-block]? [words]  scale = d * sub-scale, min =
//           -dmin * sub-min
//   kFound: nothing; 16-bit floats as they are in the file, rounded to integers as they are multiplied (all.inl)
enum class ScaleKind : uint8_t { kHalf, kSuper, kFound };

struct PackFormat {
  int bits;        // 2, 3, 4, 5, 6, 8; 16
  int sub_blocks;  // scales per block of 32 columns: 1, or 2 (a scale per 16)
  ScaleKind scale;
  bool has_min;
  bool table;  // IQ4: u indexes the 16-entry table
  int offset;

  constexpr int word_bytes() const { return bits * kPanelRows * 4; }  // of one block: `bits` vectors of 32 lanes
  constexpr int block_bytes() const {
    const int scales = scale == ScaleKind::kHalf    ? 2 * kPanelRows
                       : scale == ScaleKind::kSuper ? sub_blocks * kPanelRows
                                                    : 0;
    return scales * (has_min ? 2 : 1) + word_bytes();
  }
  constexpr int super_header_bytes() const {
    return scale == ScaleKind::kSuper ? 2 * kPanelRows * (has_min ? 2 : 1) : 0;
  }
  // Bytes of one panel of `columns` columns.
  constexpr size_t panel_bytes(int64_t columns) const {
    return static_cast<size_t>(columns / kBlock) * static_cast<size_t>(block_bytes()) +
           static_cast<size_t>(columns / kSuperBlock) * static_cast<size_t>(super_header_bytes());
  }
};

// Quantised types, and those of 16 bits where a row is whole blocks.
constexpr PackFormat pack_format(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return {4, 1, ScaleKind::kHalf, false, false, 8};
    case DType::kQ4_1:
      return {4, 1, ScaleKind::kHalf, true, false, 0};
    case DType::kQ5_0:
      return {5, 1, ScaleKind::kHalf, false, false, 16};
    case DType::kQ5_1:
      return {5, 1, ScaleKind::kHalf, true, false, 0};
    case DType::kQ8_0:
      return {8, 1, ScaleKind::kHalf, false, false, 128};
    case DType::kQ2_K:
      return {2, 2, ScaleKind::kSuper, true, false, 0};
    case DType::kQ3_K:
      return {3, 2, ScaleKind::kSuper, false, false, 4};
    case DType::kQ4_K:
      return {4, 1, ScaleKind::kSuper, true, false, 0};
    case DType::kQ5_K:
      return {5, 1, ScaleKind::kSuper, true, false, 0};
    case DType::kQ6_K:
      return {6, 2, ScaleKind::kSuper, false, false, 32};
    case DType::kIQ4_NL:
      return {4, 1, ScaleKind::kHalf, false, true, 128};
    case DType::kIQ4_XS:
      return {4, 1, ScaleKind::kSuper, false, true, 128};
    case DType::kF16:
    case DType::kBF16:
      return {16, 2, ScaleKind::kFound, false, false, 0};
    default:
      return {0, 0, ScaleKind::kHalf, false, false, 0};
  }
}

// A weight matrix, packed. 16- and 32-bit types: panel = [columns][16 rows] of the type itself.
struct PackedMatrix {
  DType type = DType::kF32;
  int64_t rows = 0;  // as in the file; the last panel is padded with zero rows
  int64_t columns = 0;
  size_t panel_bytes = 0;
  const uint8_t* data = nullptr;

  int64_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  size_t bytes() const { return panel_bytes * static_cast<size_t>(panels()); }
  const uint8_t* panel(int64_t index) const { return data + panel_bytes * static_cast<size_t>(index); }
};

}  // namespace carat::cpu
