#include "backend/cpu/step_plan.h"

#include <fmt/core.h>

#include <algorithm>

namespace carat::cpu {
namespace {

Status check_pages(const char* kind, std::span<const int32_t> pages, int32_t pool) {
  for (const int32_t page : pages) {
    if (page < 0 || page >= pool) {
      return Error{ErrorCode::kInvalidArgument, fmt::format("page {} of {} {} pages is asked for", page, pool, kind)};
    }
  }
  return {};
}

Status check_tables(const SeqRows& seq, int32_t window, const KvPlan& kv) {
  CARAT_CHECK(check_pages("global", seq.global_pages, kv.global_pages));
  CARAT_CHECK(check_pages("sliding", seq.local_pages, kv.local_pages));
  if (seq.end <= seq.begin || seq.past < 0) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("a sequence has rows [{}, {}) at position {}", seq.begin, seq.end, seq.past)};
  }
  const int64_t last = int64_t{seq.past} + seq.end - seq.begin - 1;
  const auto global_pages = static_cast<int64_t>(seq.global_pages.size());
  if (last / kPageTokens >= global_pages) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("position {} lies outside a table of {} pages of {} tokens",
                                                          last, global_pages, kPageTokens)};
  }
  const int64_t first = std::max<int64_t>(0, int64_t{seq.past} - window + 1);
  const int64_t needed = last / kPageTokens - first / kPageTokens + 1;
  if (needed > static_cast<int64_t>(seq.local_pages.size())) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("rows at positions {} to {} see {} sliding pages; their ring has {}", seq.past, last,
                             needed, seq.local_pages.size())};
  }
  return {};
}

}  // namespace

Status StepPlan::build(const Step& step, const ModelPack& model, const KvPlan& kv, int workers) {
  const int group = model.heads / model.kv_heads;
  const int tile = std::max(1, kTileRows / group);  // tokens that share a key's load
  rows.clear();
  tasks[0].clear();
  tasks[1].clear();
  partial_slots = 0;
  for (const SeqRows& seq : step.seqs) {
    CARAT_CHECK(check_tables(seq, model.window, kv));
    for (int32_t row = seq.begin; row < seq.end; ++row) {
      const int32_t position = seq.past + row - seq.begin;
      rows.push_back({step.tokens[static_cast<size_t>(row)],
                      position,
                      position,
                      {seq.local_pages.data(), seq.global_pages.data()},
                      {static_cast<int32_t>(seq.local_pages.size()), static_cast<int32_t>(seq.global_pages.size())},
                      {-1, -1}});
    }
  }
  // With few rows a task per kv head would leave workers idle: then every split is a task.
  const auto row_count = static_cast<int64_t>(rows.size());
  const bool by_split = row_count <= 8 && row_count * model.kv_heads < 4 * workers;
  for (const SeqRows& seq : step.seqs) {
    for (int kind = 0; kind < 2; ++kind) {
      for (int32_t row = seq.begin; row < seq.end; row += by_split ? 1 : tile) {
        const int32_t count = by_split ? 1 : std::min(tile, seq.end - row);
        const int32_t first = rows[static_cast<size_t>(row)].position;
        int32_t last = 0;  // key that one of them sees
        for (int32_t r = row; r < row + count; ++r) last = std::max(last, rows[static_cast<size_t>(r)].last_key);
        const int32_t split_begin = kind == 1 ? 0 : std::max(0, first - model.window + 1) / kSplitKeys;
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
  return {};
}

}  // namespace carat::cpu
