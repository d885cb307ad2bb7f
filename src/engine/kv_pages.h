// Page numbers of the KV cache. A page is kPageTokens positions on every layer of its kind. Global layers keep every
// position, so their table grows; sliding layers see W keys, so their table is a ring of fixed length.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "model/config.h"
#include "model/step.h"

namespace carat {

// Numbers 0 .. total-1, each held by at most one owner: a sequence or a block of the prefix cache.
class PagePool {
 public:
  explicit PagePool(int32_t total);
  int32_t total() const { return static_cast<int32_t>(held_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  std::optional<int32_t> take();  // none when all are held
  void give(int32_t page);        // a page that was taken

 private:
  std::vector<int32_t> free_;  // the last one goes first
  std::vector<bool> held_;
};

struct KvShape {
  int32_t context = 0;   // positions a sequence may have
  int32_t max_rows = 0;  // rows of one step
  int32_t max_sequences = 0;
  int32_t whole_contexts = 0;  // sequences of the whole context that all may share
  int32_t cache_pages = 0;     // beyond what running sequences can need, of both kinds: what the prefix cache may keep
};

inline int32_t blocks_of(int64_t tokens) { return static_cast<int32_t>((tokens + kPageTokens - 1) / kPageTokens); }

// Entries of a sequence's local ring: W keys, the rows of a step, and one because both may begin within a page; never
// more than the whole context.
int32_t local_ring_pages(const ModelConfig& config, const KvShape& shape);

// Enough for so many whole contexts, the windows of max_sequences, and the cache.
KvPlan plan_kv(const ModelConfig& config, const KvShape& shape);

}  // namespace carat
