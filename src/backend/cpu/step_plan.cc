#include "backend/cpu/step_plan.h"

#include <algorithm>

namespace carat::cpu {
void StepPlan::build(const Step& step, const ModelPack& model, int workers) {
  const int group = model.heads / model.kv_heads;
  const int tile = std::max(1, kTileRows / group);  // tokens that share a key's load
  rows.clear();
  tasks[0].clear();
  tasks[1].clear();
  partial_slots = 0;
  for (const SeqRows& seq : step.seqs) {
    for (int32_t row = seq.begin; row < seq.end; ++row) {
      const int32_t position = seq.past + row - seq.begin;
      const Row& from = step.rows[static_cast<size_t>(row)];
      rows.push_back({from.token,
                      position,
                      from.sees_until,
                      {seq.local_pages.data(), seq.global_pages.data()},
                      {static_cast<int32_t>(seq.local_pages.size()), static_cast<int32_t>(seq.global_pages.size())},
                      {-1, -1}});
    }
  }
  // With few rows a task per kv head would leave workers idle: then every split is a task.
  const auto row_count = static_cast<int64_t>(rows.size());
  const bool by_split = row_count <= 8 && row_count * model.kv_heads < 4 * workers;
  arrived.assign(by_split ? static_cast<size_t>(row_count * model.kv_heads) : 0, 0);
  for (const SeqRows& seq : step.seqs) {
    for (const LayerKind kind : kLayerKinds) {
      for (int32_t row = seq.begin; row < seq.end; row += by_split ? 1 : tile) {
        const int32_t count = by_split ? 1 : std::min(tile, seq.end - row);
        const int32_t first = rows[static_cast<size_t>(row)].position;
        int32_t last = 0;  // key that one of them sees
        for (int32_t r = row; r < row + count; ++r) last = std::max(last, rows[static_cast<size_t>(r)].last_key);
        const int32_t split_begin = kind == kGlobal ? 0 : std::max(0, first - model.window + 1) / kSplitKeys;
        const int32_t split_end = last / kSplitKeys + 1;
        if (by_split && split_end - split_begin > 1) {
          rows[static_cast<size_t>(row)].partial[kind] = partial_slots;
          partial_slots += int64_t{split_end - split_begin} * model.heads;
          for (int32_t split = split_begin; split < split_end; ++split) {
            for (int32_t head = 0; head < model.kv_heads; ++head)
              tasks[kind].push_back({row, 1, head, split, split + 1, true});
          }
        } else {
          for (int32_t head = 0; head < model.kv_heads; ++head)
            tasks[kind].push_back({row, count, head, split_begin, split_end, false});
        }
      }
    }
  }
}

}  // namespace carat::cpu
