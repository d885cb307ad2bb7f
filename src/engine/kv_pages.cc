#include "engine/kv_pages.h"

#include <algorithm>

#include "base/checked.h"
#include "base/result.h"

namespace carat {

PagePool::PagePool(int32_t total) : held_(static_cast<size_t>(total)) {
  free_.reserve(held_.size());
  for (int32_t page = total - 1; page >= 0; --page) free_.push_back(page);
}

int32_t PagePool::take() {
  CARAT_ASSERT(!free_.empty());
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
  return std::min(ring, div_ceil(shape.context, kPageTokens));
}

KvPlan plan_kv(const ModelConfig& config, const KvShape& shape) {
  KvPlan plan;
  plan.global_pages = shape.max_sequences * div_ceil(shape.context, kPageTokens);
  plan.local_pages = shape.max_sequences * local_ring_pages(config, shape);
  plan.max_rows = shape.max_rows;
  return plan;
}

bool ring_still_holds_window(int32_t position, int32_t written, int32_t ring_pages, int32_t window) {
  const int32_t oldest_needed = std::max(0, position - window + 1);
  return written - ring_pages * kPageTokens <= oldest_needed;
}

}  // namespace carat
