// What the next step computes: a pure function of what is pending, so that tests replay it.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace carat {

// Rows of one sequence that are known but not yet computed: 1 while decoding, more while its prompt is being read.
struct PendingRows {
  int32_t rows = 0;
  int32_t quiet = 0;  // the first of them, whose logits nobody wants; in [0, rows]
  std::span<const std::pair<int32_t, int32_t>> whole = {};  // ranges [begin, end) of positions that no step may cut
  int32_t position = 0;                                     // of the first row
};

struct PlannedRows {
  int32_t sequence = 0;  // index into the pending list
  int32_t rows = 0;      // the first so many of its pending rows
};

struct StepLimits {
  int32_t max_rows = 0;         // T
  int32_t max_logits_rows = 0;  // L: bounds the memory of the logits, [L][V] floats
  int32_t beside_rows = 0;      // of T, where more than one sequence is there to wait for the step
};

// Decoding sequences first, so that reading a long prompt never stalls them; then prompts in the order they came, in
// chunks of what room is left. A later prompt never overtakes an earlier one. Empty when nothing is pending.
std::vector<PlannedRows> plan_step(std::span<const PendingRows> pending, const StepLimits& limits);

}  // namespace carat
