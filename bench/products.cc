// products_bench [TYPE...] [isa=cpu/avx2] [rows=1,8,128] [panels=48] [columns=1280]: what one core makes of a matrix in its
// cache, for each type of weights: G multiply-adds a second, and for one row the GB/s that it takes.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "formats/quantize.h"

namespace carat::cpu {
namespace {

std::vector<int64_t> numbers(std::string_view text) {
  std::vector<int64_t> out;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    out.push_back(std::atoll(std::string(text.substr(0, comma)).c_str()));
    text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
  }
  return out;
}

struct Options {
  std::vector<std::string> types;
  std::string isa;
  std::vector<int64_t> rows{1, 8, 128};
  int64_t panels = 48, columns = 1280;
};

std::vector<float> random_floats(size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> out(count);
  for (float& x : out) x = normal(random);
  return out;
}

void measure(const Kernels& kernels, DType type, const Options& options) {
  const int64_t rows = options.panels * kPanelRows;
  const int64_t columns = options.columns;
  const std::vector<float> floats = random_floats(static_cast<size_t>(rows * columns));
  std::vector<std::byte> file(*dtype_bytes(type, floats.size()));
  quantize(type, floats.data(), file.data(), rows * columns);
  PackedMatrix matrix{type, rows, columns, static_cast<size_t>(columns * kPanelRows * 4), nullptr};
  if (type != DType::kF32) matrix.panel_bytes = pack_format(type).panel_bytes(columns);
  std::vector<uint8_t> panels(matrix.bytes() + 8192);
  matrix.data = panels.data();
  kernels.pack(matrix, reinterpret_cast<const uint8_t*>(file.data()), file.size() / static_cast<size_t>(rows),
               panels.data(), 0, matrix.panels());
  fmt::print("{:<12} {:<7}", kernels.name, dtype_info(type).name);
  for (const int64_t count : options.rows) {
    const auto size = static_cast<size_t>(count);
    std::vector<float> values = random_floats(size * static_cast<size_t>(columns));
    std::vector<int16_t> ints(values.size());
    std::vector<float> scales(values.size() / 32 + size), sums(2 * 16 * size + 64),
        out(size * static_cast<size_t>(rows));
    std::vector<int32_t> int_sums(values.size() / 16);
    std::vector<uint8_t> piece(kPanelScratchBytes + 64);
    std::vector<uint8_t> tiles((size + 15) / 16 * static_cast<size_t>(columns / 32) * kTiledBlockBytes + 64);
    Activations x{values.data(), ints.data(), scales.data(), int_sums.data(), columns};
    x.tiles = tiles.data() + (64 - reinterpret_cast<uintptr_t>(tiles.data()) % 64) % 64;
    x.reads_tiles = columns % 128 == 0 && kernels.has_tiles(type);
    for (int64_t row = 0; row < count; ++row) kernels.round_row(x, row);
    Scratch scratch{};
    scratch.sums = sums.data();
    scratch.panel = piece.data() + (64 - reinterpret_cast<uintptr_t>(piece.data()) % 64) % 64;
    double best = 1e9;
    const int64_t turns = std::max<int64_t>(1, 400'000'000 / (rows * columns * count) / 10);
    for (int round = 0; round < 30; ++round) {
      const auto start = std::chrono::steady_clock::now();
      for (int64_t turn = 0; turn < turns; ++turn) {
        kernels.matmul(matrix, x, count, out.data(), rows, 0, matrix.panels(), scratch);
      }
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      best = std::min(best, seconds.count() / static_cast<double>(turns));
    }
    fmt::print("  {:>3} rows {:>6.1f} GMAC/s", count, static_cast<double>(rows * columns * count) / best / 1e9);
    if (count == 1) fmt::print(" {:>5.1f} GB/s", static_cast<double>(matrix.bytes()) / best / 1e9);
  }
  fmt::print("\n");
}

int run(std::vector<std::string_view> arguments) {
  Options options;
  for (const std::string_view argument : arguments) {
    const size_t equals = argument.find('=');
    const std::string_view value = equals == std::string_view::npos ? "" : argument.substr(equals + 1);
    if (argument.starts_with("isa=")) {
      options.isa = value;
    } else if (argument.starts_with("rows=")) {
      options.rows = numbers(value);
    } else if (argument.starts_with("panels=")) {
      options.panels = numbers(value).front();
    } else if (argument.starts_with("columns=")) {
      options.columns = numbers(value).front();
    } else {
      options.types.emplace_back(argument);
    }
  }
  for (const Kernels* kernels : available_kernels()) {
    if (options.isa.empty() ? kernels != available_kernels().front() : options.isa != kernels->name) continue;
    for (int i = 0; i < kDTypeCount; ++i) {
      const auto type = static_cast<DType>(i);
      const std::string name(dtype_info(type).name);
      if (!options.types.empty() && std::find(options.types.begin(), options.types.end(), name) == options.types.end())
        continue;
      measure(*kernels, type, options);
    }
  }
  return 0;
}

}  // namespace
}  // namespace carat::cpu

int main(int argc, char** argv) { return carat::cpu::run({argv + 1, argv + argc}); }
