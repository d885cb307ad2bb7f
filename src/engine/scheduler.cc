#include "engine/scheduler.h"

#include <algorithm>

namespace carat {
namespace {

// So many rows, or fewer where they would cut what must stay whole.
int32_t uncut(const PendingRows& pending, int32_t rows) {
  for (const auto& [begin, end] : pending.whole) {
    const int32_t stop = pending.position + rows;
    if (stop > begin && stop < end) rows = std::max(0, begin - pending.position);
  }
  return rows;
}

}  // namespace

std::vector<PlannedRows> plan_step(std::span<const PendingRows> pending, const StepLimits& limits) {
  std::vector<PlannedRows> plan;
  int32_t rows_left = pending.size() > 1 ? limits.beside_rows : limits.max_rows;
  int32_t logits_left = limits.max_logits_rows;

  // As many rows of sequence i as fit; false when not all of them did.
  const auto add = [&](size_t i) {
    const PendingRows& want = pending[i];
    const int32_t rows = uncut(want, std::min({want.rows, rows_left, want.quiet + logits_left}));
    if (rows > 0) plan.push_back({static_cast<int32_t>(i), rows});
    rows_left -= rows;
    logits_left -= std::max(0, rows - want.quiet);
    return rows == want.rows;
  };
  for (size_t i = 0; i < pending.size(); ++i) {
    if (pending[i].rows == 1 && !add(i)) return plan;
  }
  for (size_t i = 0; i < pending.size(); ++i) {
    if (pending[i].rows > 1 && !add(i)) return plan;
  }
  return plan;
}

}  // namespace carat
