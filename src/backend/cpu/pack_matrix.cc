#include "backend/cpu/pack_matrix.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "base/file_map.h"
#include "model/weights.h"

namespace carat::cpu {

Result<PackedMatrix> describe_packed(const TensorView& tensor, int64_t rows) {
  PackedMatrix matrix;
  matrix.type = tensor.type;
  matrix.rows = rows;
  matrix.columns = tensor.columns;
  if (is_quantised(tensor.type)) {
    if (tensor.columns % dtype_info(tensor.type).block_elements != 0) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: {} columns are not whole blocks", tensor.name, tensor.columns)};
    }
    matrix.panel_bytes = pack_format(tensor.type).panel_bytes(tensor.columns);
  } else {
    matrix.panel_bytes = static_cast<size_t>(tensor.columns) * kPanelRows * (tensor.type == DType::kF32 ? 4 : 2);
  }
  return matrix;
}

namespace {

constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

// About a megabyte of a matrix's rows in the file.
struct PackPiece {
  size_t job;
  int64_t begin, end;  // panels
};

struct PackRun {
  const Kernels* kernels;
  Team* team;
  std::span<const PackJob> jobs;
  bool release;
  std::vector<PackPiece> pieces;
  std::vector<std::atomic<int64_t>> bad_rows;  // [jobs]: the first one that is not finite

  static void run(void* argument, int) {
    auto& self = *static_cast<PackRun*>(argument);
    const auto count = static_cast<int64_t>(self.pieces.size());
    for (int64_t i; (i = self.team->claim(0, 1, count)) < count;) self.pack(self.pieces[static_cast<size_t>(i)]);
  }

  void pack(const PackPiece& piece) {
    const TensorView& tensor = *jobs[piece.job].tensor;
    const PackedMatrix& matrix = *jobs[piece.job].matrix;
    const auto row_bytes = static_cast<int64_t>(tensor.row_bytes());
    const int64_t bad =
        kernels->pack(matrix, reinterpret_cast<const uint8_t*>(tensor.data.data()), static_cast<size_t>(row_bytes),
                      const_cast<uint8_t*>(matrix.data), piece.begin, piece.end);
    if (bad >= 0) found_bad(bad_rows[piece.job], bad);
    if (!release) return;
    const int64_t first = piece.begin * kPanelRows * row_bytes;
    const int64_t last = std::min(piece.end * kPanelRows, matrix.rows) * row_bytes;
    release_pages(tensor.data.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first)));
  }

  static void found_bad(std::atomic<int64_t>& first, int64_t row) {
    int64_t before = first.load();
    while (row < before && !first.compare_exchange_weak(before, row)) {
    }
  }
};

}  // namespace

Status pack_matrices(const Kernels& kernels, Team& team, std::span<const PackJob> jobs, bool release) {
  PackRun run{&kernels, &team, jobs, release, {}, std::vector<std::atomic<int64_t>>(jobs.size())};
  for (size_t job = 0; job < jobs.size(); ++job) {
    run.bad_rows[job] = kNone;
    const int64_t panels = jobs[job].matrix->panels();
    const auto panel_bytes = static_cast<int64_t>(jobs[job].tensor->row_bytes()) * kPanelRows;
    const int64_t step = std::max<int64_t>(1, (int64_t{1} << 20) / panel_bytes);
    for (int64_t begin = 0; begin < panels; begin += step) {
      run.pieces.push_back({job, begin, std::min(begin + step, panels)});
    }
  }
  team.run(&PackRun::run, &run);
  for (size_t job = 0; job < jobs.size(); ++job) {
    if (run.bad_rows[job] < jobs[job].matrix->rows) return not_finite(*jobs[job].tensor, run.bad_rows[job]);
  }
  return {};
}

}  // namespace carat::cpu
