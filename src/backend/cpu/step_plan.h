// What the host works out once per step, before the workers fork: where each row's keys lie, and who attends to what.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/cpu/kernels.h"
#include "model/step.h"

namespace carat::cpu {

struct StepPlan {
  std::vector<RowPlan> rows;       // [T]
  std::vector<AttnTask> tasks[2];  // sliding, global
  int64_t partial_slots = 0;       // results of single splits that `partials` must hold
  std::vector<int32_t> arrived;    // [T][K] where splits are tasks, zero: the workers count them there

  // The step has been checked (check_step).
  void build(const Step& step, const ModelPack& model, int workers);
};

}  // namespace carat::cpu
