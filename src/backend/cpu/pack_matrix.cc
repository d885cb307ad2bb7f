#include "backend/cpu/pack_matrix.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <limits>

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

// Packs in pieces; a piece's pages of the file are released as soon as it is packed.
struct PackRun {
  const Kernels* kernels;
  Team* team;
  const TensorView* tensor;
  const PackedMatrix* matrix;
  bool release;
  std::atomic<int64_t> bad_row{std::numeric_limits<int64_t>::max()};  // the first one

  void found_bad(int64_t row) {
    int64_t before = bad_row.load();
    while (row < before && !bad_row.compare_exchange_weak(before, row)) {
    }
  }

  static void run(void* argument, int) {
    auto& self = *static_cast<PackRun*>(argument);
    const int64_t panels = self.matrix->panels();
    const auto row_bytes = static_cast<int64_t>(self.tensor->row_bytes());
    const int64_t chunk = std::max<int64_t>(1, (int64_t{1} << 20) / (row_bytes * kPanelRows));
    for (;;) {
      const int64_t begin = self.team->claim(0, chunk, panels);
      if (begin >= panels) return;
      const int64_t end = std::min(begin + chunk, panels);
      const int64_t bad =
          self.kernels->pack(*self.matrix, reinterpret_cast<const uint8_t*>(self.tensor->data.data()),
                             static_cast<size_t>(row_bytes), const_cast<uint8_t*>(self.matrix->data), begin, end);
      if (bad >= 0) self.found_bad(bad);
      if (!self.release) continue;
      const int64_t first = begin * kPanelRows * row_bytes;
      const int64_t last = std::min(end * kPanelRows, self.matrix->rows) * row_bytes;
      release_pages(self.tensor->data.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first)));
    }
  }
};

}  // namespace

Status pack_matrix(const Kernels& kernels, Team& team, const TensorView& tensor, const PackedMatrix& matrix,
                   bool release) {
  PackRun run{&kernels, &team, &tensor, &matrix, release};
  team.run(&PackRun::run, &run);
  if (run.bad_row.load() < matrix.rows) return not_finite(tensor, run.bad_row.load());
  return {};
}

}  // namespace carat::cpu
