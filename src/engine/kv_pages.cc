#include "engine/kv_pages.h"

#include <algorithm>

#include "base/checked.h"
#include "base/result.h"

namespace carat {

PagePool::PagePool(int32_t total) : held_(static_cast<size_t>(total)) {
  free_.reserve(held_.size());
  for (int32_t page = total - 1; page >= 0; --page) free_.push_back(page);
}

std::optional<int32_t> PagePool::take() {
  if (free_.empty()) return std::nullopt;
  const int32_t page = free_.back();
  free_.pop_back();
  held_[static_cast<size_t>(page)] = true;
  return page;
}

void PagePool::give(int32_t page) {
  CARAT_ASSERT(page >= 0 && page < total() && held_[static_cast<size_t>(page)]);
  held_[static_cast<size_t>(page)] = false;
  free_.push_back(page);
}

int32_t local_ring_pages(const ModelConfig& config, const KvShape& shape) {
  const int32_t ring = div_ceil(config.window + shape.max_rows, kPageTokens) + 1;
  return std::min(ring, blocks_of(shape.context));
}

KvPlan plan_kv(const ModelConfig& config, const KvShape& shape) {
  const int32_t blocks = blocks_of(shape.context);
  // A window begins and ends within a page; the rows of two steps in flight lie beyond it.
  const int32_t window = std::min(div_ceil(config.window, kPageTokens) + 2, blocks);
  KvPlan plan;
  plan.global_pages = shape.whole_contexts * blocks + shape.cache_pages;
  plan.local_pages = shape.max_sequences * window + 2 * blocks_of(shape.max_rows) + shape.cache_pages;
  plan.max_rows = shape.max_rows;
  plan.slots = shape.max_sequences;
  return plan;
}

}  // namespace carat
