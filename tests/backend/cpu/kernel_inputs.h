// What products of packed matrices are tested with: a random matrix of a type, rows of activations, and the call.
#pragma once

#include <limits>
#include <random>
#include <vector>

#include "backend/cpu/kernels.h"
#include "backend/cpu/random_model.h"
#include "formats/dequant.h"
#include "formats/quantize.h"

namespace carat::test {

using cpu::Activations;
using cpu::Kernels;
using cpu::kPanelRows;
using cpu::kPanelScratchBytes;
using cpu::PackedMatrix;
using cpu::Scratch;

inline std::vector<DType> all_types() {
  std::vector<DType> types;
  for (int i = 0; i < kDTypeCount; ++i) types.push_back(static_cast<DType>(i));
  return types;
}

// A random matrix of a type, in the file's layout, and packed.
struct Matrix {
  std::vector<std::byte> file;
  std::vector<float> values;  // dequantised, [rows][columns]
  std::vector<uint8_t> panels;
  PackedMatrix packed;

  Matrix(const Kernels& kernels, DType type, int64_t rows, int64_t columns, unsigned seed) {
    std::mt19937 random(seed);
    const std::vector<float> floats = normal_floats(random, static_cast<size_t>(rows * columns), 1.0f);
    file.resize(*dtype_bytes(type, floats.size()));
    quantize(type, floats.data(), file.data(), rows * columns);
    values.resize(floats.size());
    dequantize(type, file.data(), values.data(), rows * columns);
    packed.type = type;
    packed.rows = rows;
    packed.columns = columns;
    packed.panel_bytes = is_quantised(type) ? cpu::pack_format(type).panel_bytes(columns)
                                            : static_cast<size_t>(columns) * kPanelRows * (type == DType::kF32 ? 4 : 2);
    panels.assign(packed.bytes() + 8192, 0xff);  // a canary after the end, and room for prefetches
    packed.data = panels.data();
    kernels.pack(packed, reinterpret_cast<const uint8_t*>(file.data()), file.size() / static_cast<size_t>(rows),
                 panels.data(), 0, packed.panels());
  }
};

// Whether a type is multiplied as integers.
inline bool as_integers(DType type) { return type != DType::kF32; }

struct Rows {
  std::vector<float> values;
  std::vector<int16_t> stored;  // as the ISA lays them out
  std::vector<float> scales;
  std::vector<int32_t> sums;
  std::vector<int16_t> ints;  // as numbers
  std::vector<uint8_t> tiles;
  Activations x;

  // For products with `type`: what they do not read is not there.
  Rows(const Kernels& kernels, int64_t rows, int64_t columns, unsigned seed, DType type = DType::kF32) {
    std::mt19937 random(seed);
    values = normal_floats(random, static_cast<size_t>(rows * columns), 1.0f);
    stored.resize(values.size());
    ints.resize(values.size());
    scales.resize(static_cast<size_t>(rows * (columns / 32 + 1)));
    sums.resize(values.size() / 16 + 1);
    x = {values.data(), stored.data(), scales.data(), sums.data(), columns};
    x.reads_tiles = columns % 128 == 0 && kernels.has_tiles(type);
    if (x.reads_tiles)
      tiles.assign(static_cast<size_t>((rows + 15) / 16 * (columns / 32) * cpu::kTiledBlockBytes), 0xff);
    x.tiles = tiles.data();
    for (int64_t row = 0; row < rows; ++row) {
      kernels.round_row(x, row);
      kernels.rounded_row(x, row, ints.data() + row * columns);
    }
  }
  // What the product really multiplies: the rounded row for quantised weights, the row itself otherwise.
  double value(int64_t row, int64_t column, bool rounded) const {
    const auto at = static_cast<size_t>(row * x.columns + column);
    if (!rounded) return values[at];
    return double{scales[at / 32]} * ints[at];
  }
};

struct Workspace {
  std::vector<float> sums = std::vector<float>(size_t{2 * 256} * kPanelRows);
  std::vector<float> sums_2 = sums;
  std::vector<uint8_t> panel = std::vector<uint8_t>(kPanelScratchBytes);
  Scratch scratch{sums.data(), sums_2.data(), panel.data(), nullptr, nullptr, nullptr};
};

inline std::vector<float> product(const Kernels& kernels, const Matrix& matrix, const Rows& rows, int64_t count) {
  Workspace work;
  std::vector<float> out(static_cast<size_t>(count * matrix.packed.rows), std::numeric_limits<float>::quiet_NaN());
  kernels.matmul(matrix.packed, rows.x, count, out.data(), matrix.packed.rows, 0, matrix.packed.panels(), work.scratch);
  return out;
}

}  // namespace carat::test
