// What the host works out once per step, before the workers fork: where each row's keys lie, and who attends to what.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "base/result.h"
#include "model/step.h"

namespace carat::cpu {

struct StepPlan {
  std::vector<RowPlan> rows;       // [T]
  std::vector<AttnTask> tasks[2];  // sliding, global
  int64_t partial_slots = 0;       // results of single splits that `partials` must hold

  // Errors: kInvalidArgument where a row's position lies outside its table, a page outside its pool, or a ring cannot
  // hold what the rows see.
  Status build(const Step& step, const ModelPack& model, const KvPlan& kv, int workers);
};

}  // namespace carat::cpu
