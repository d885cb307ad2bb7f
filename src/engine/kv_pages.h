// Page numbers of the KV cache: who holds which. A page is kPageTokens positions on every layer of its kind. Global
// layers keep every position, so their table grows; sliding layers see W keys, so their table is a ring of fixed
// length.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "model/config.h"
#include "model/step.h"

namespace carat {

// Numbers 0 .. total-1, each held by at most one owner.
class PagePool {
 public:
  explicit PagePool(int32_t total);
  int32_t total() const { return static_cast<int32_t>(held_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  int32_t take();           // a free page; there must be one
  void give(int32_t page);  // a page that was taken

 private:
  std::vector<int32_t> free_;  // the last one goes first
  std::vector<bool> held_;
};

// The pages of one sequence, by position / P (global) and by (position / P) % size (local).
struct PageTables {
  std::vector<int32_t> global;
  std::vector<int32_t> local;
};

struct KvShape {
  int32_t context = 0;   // positions a sequence may have
  int32_t max_rows = 0;  // rows of one step
  int32_t max_sequences = 0;
};

// Pages of a sequence's local ring: W keys, the rows of a step, and one page because both may begin within a page;
// never more than the whole context.
int32_t local_ring_pages(const ModelConfig& config, const KvShape& shape);

// Enough for max_sequences sequences of the whole context: admission by sequence count is admission by memory.
KvPlan plan_kv(const ModelConfig& config, const KvShape& shape);

// The first position whose sliding layers can continue at `position` (have all W - 1 keys before it) is judged by this:
// `written` positions have been stored since the ring was empty, and position p was overwritten by position p + ring
// size.
bool ring_still_holds_window(int32_t position, int32_t written, int32_t ring_pages, int32_t window);

}  // namespace carat
