#include "engine/prefix_cache.h"

#include <algorithm>

#include "base/result.h"

namespace carat {

struct CacheBlock {
  CacheBlock* parent = nullptr;
  uint64_t salt = 0;
  std::vector<CacheKey> keys;  // 1 to P; none: a root
  int32_t global_page = -1;
  int32_t local_page = -1;
  int32_t users = 0;        // sequences whose path it is part of
  int32_t local_users = 0;  // of them, those whose window it lies in
  bool keep = false;        // a turn ended within a window after it
  uint64_t used = 0;        // when it was released last
  std::vector<std::unique_ptr<CacheBlock>> children;

  bool is_full() const { return keys.size() == static_cast<size_t>(kPageTokens); }
  bool leaf_is_idle() const { return parent != nullptr && users == 0 && children.empty(); }
  bool local_is_idle() const { return local_page >= 0 && local_users == 0; }
};

namespace {

size_t common(std::span<const CacheKey> a, std::span<const CacheKey> b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
  return static_cast<size_t>(end - a.begin());
}

// The child that has most in common with what follows; full blocks first among equals.
std::pair<CacheBlock*, size_t> best_child(const CacheBlock& block, std::span<const CacheKey> following) {
  CacheBlock* best = nullptr;
  size_t most = 0;
  for (const auto& child : block.children) {
    const size_t same = common(child->keys, following);
    if (same < most || same == 0 || (same == most && !child->is_full())) continue;
    best = child.get();
    most = same;
  }
  return {best, most};
}

int32_t cut_back(int32_t position, std::span<const std::pair<int32_t, int32_t>> whole) {
  for (const auto& [begin, end] : whole) {
    if (position > begin && position < end) return begin;
  }
  return position;
}

}  // namespace

PrefixCache::PrefixCache(PagePool& global, PagePool& local, int32_t window)
    : global_(global), local_(local), window_(window) {}

PrefixCache::~PrefixCache() = default;

int32_t PrefixCache::global_page(const CacheBlock* block) const { return block->global_page; }
int32_t PrefixCache::local_page(const CacheBlock* block) const { return block->local_page; }

// Whether the W - 1 positions before `position` have their keys on sliding layers, as far as full blocks go.
bool PrefixCache::holds_window(std::span<CacheBlock* const> path, int32_t position) const {
  const int32_t first = std::max(0, position - window_ + 1) / kPageTokens;
  for (size_t i = static_cast<size_t>(first); i < path.size(); ++i) {
    if (path[i]->local_page < 0) return false;
  }
  return true;
}

PrefixCache::Hit PrefixCache::find(uint64_t salt, std::span<const CacheKey> keys,
                                   std::span<const std::pair<int32_t, int32_t>> whole) const {
  Hit hit;
  const auto root = roots_.find(salt);
  if (root == roots_.end()) return hit;
  const CacheBlock* at = root->second.get();
  for (;;) {
    const auto following = keys.subspan(hit.path.size() * kPageTokens);
    const auto [child, same] = best_child(*at, following);
    if (same < static_cast<size_t>(kPageTokens)) {
      hit.tail = child;
      hit.tail_tokens = static_cast<int32_t>(same);
      break;
    }
    hit.path.push_back(child);
    at = child;
  }
  // Back to where a sequence can go on: nothing is cut that must be whole, and the window is there.
  for (int32_t position = hit.tokens();; position = hit.tokens()) {
    const int32_t allowed = cut_back(position, whole);
    if (allowed < position) {
      const auto full = static_cast<size_t>(allowed / kPageTokens);
      if (full < hit.path.size()) {
        hit.tail = hit.path[full];
        hit.path.resize(full);
      }
      hit.tail_tokens = allowed % kPageTokens;
    } else if (hit.tail_tokens > 0 && (hit.tail->local_page < 0 || !holds_window(hit.path, position))) {
      hit.tail_tokens = 0;
    } else if (!hit.path.empty() && !holds_window(hit.path, position)) {
      hit.path.pop_back();
    } else {
      break;
    }
  }
  if (hit.tail_tokens == 0) hit.tail = nullptr;
  return hit;
}

// Keeps the idle sets true after users, children or pages of a block have changed. The block is in neither set now.
void PrefixCache::update_idle(CacheBlock* block) {
  if (block->leaf_is_idle()) idle_leaves_.emplace(block->used, block);
  if (block->local_is_idle()) idle_local_.emplace(block->keep, block->used, block);
}

void PrefixCache::use(const Hit& hit) {
  const auto first = static_cast<size_t>(std::max(0, hit.tokens() - window_ + 1) / kPageTokens);
  for (size_t i = 0; i < hit.path.size(); ++i) {
    CacheBlock* block = hit.path[i];
    idle_leaves_.erase({block->used, block});
    idle_local_.erase({block->keep, block->used, block});
    if (block->users++ == 0) --unused_;
    if (i >= first) {
      ++block->local_users;
      block->keep = true;
    }
    update_idle(block);
  }
  if (hit.tail == nullptr) return;
  idle_leaves_.erase({hit.tail->used, hit.tail});
  idle_local_.erase({hit.tail->keep, hit.tail->used, hit.tail});
  if (hit.tail->users++ == 0) --unused_;
  ++hit.tail->local_users;
}

CacheBlock* PrefixCache::root_of(uint64_t salt) {
  std::unique_ptr<CacheBlock>& root = roots_[salt];
  if (!root) root = std::make_unique<CacheBlock>();
  return root.get();
}

CacheBlock* PrefixCache::insert(uint64_t salt, std::span<CacheBlock* const> path, std::span<const CacheKey> keys,
                                int32_t global_page, int32_t local_page) {
  CARAT_ASSERT(!keys.empty() && keys.size() <= static_cast<size_t>(kPageTokens));
  CacheBlock* parent = path.empty() ? root_of(salt) : path.back();
  CARAT_ASSERT(path.empty() || parent->is_full());
  const auto [child, same] = best_child(*parent, keys);
  if (child != nullptr && same == keys.size()) {  // there already, or the beginning of what is there
    idle_leaves_.erase({child->used, child});
    idle_local_.erase({child->keep, child->used, child});
    global_.give(global_page);
    if (local_page >= 0 && child->local_page >= 0) {
      local_.give(local_page);
    } else if (local_page >= 0) {
      child->local_page = local_page;
      ++stats_.local_pages;
    }
    if (child->users++ == 0) --unused_;
    if (child->local_page >= 0) ++child->local_users;
    update_idle(child);
    return child;
  }
  // A short block that this one begins with has nothing that this one has not.
  if (child != nullptr && same == child->keys.size() && child->leaf_is_idle() && child->local_users == 0) {
    remove(child);
    parent = path.empty() ? root_of(salt) : path.back();  // a root goes with its last child
  }
  auto block = std::make_unique<CacheBlock>();
  block->parent = parent;
  block->salt = salt;
  block->keys.assign(keys.begin(), keys.end());
  block->global_page = global_page;
  block->local_page = local_page;
  block->users = 1;
  block->local_users = local_page >= 0 ? 1 : 0;
  ++stats_.global_pages;
  if (local_page >= 0) ++stats_.local_pages;
  idle_leaves_.erase({parent->used, parent});
  parent->children.push_back(std::move(block));
  return parent->children.back().get();
}

void PrefixCache::release_local(CacheBlock* block, bool keep) {
  CARAT_ASSERT(block->local_users > 0);
  idle_leaves_.erase({block->used, block});
  --block->local_users;
  block->keep = block->keep || keep;
  block->used = ++clock_;
  update_idle(block);
}

void PrefixCache::release(std::span<CacheBlock* const> path) {
  for (CacheBlock* block : path) {
    CARAT_ASSERT(block->users > 0);
    idle_local_.erase({block->keep, block->used, block});
    if (--block->users == 0) ++unused_;
    block->used = ++clock_;
    update_idle(block);
  }
}

void PrefixCache::remove(CacheBlock* leaf) {
  idle_leaves_.erase({leaf->used, leaf});
  idle_local_.erase({leaf->keep, leaf->used, leaf});
  global_.give(leaf->global_page);
  --stats_.global_pages;
  if (leaf->local_page >= 0) {
    local_.give(leaf->local_page);
    --stats_.local_pages;
  }
  --unused_;
  ++stats_.evicted_blocks;
  CacheBlock* parent = leaf->parent;
  const uint64_t salt = leaf->salt;
  std::erase_if(parent->children, [&](const auto& child) { return child.get() == leaf; });
  if (parent->leaf_is_idle()) idle_leaves_.emplace(parent->used, parent);
  if (parent->parent == nullptr && parent->children.empty()) roots_.erase(salt);
}

std::optional<int32_t> PrefixCache::take_global() {
  if (global_.free() == 0 && !idle_leaves_.empty()) remove(idle_leaves_.begin()->second);
  return global_.take();
}

std::optional<int32_t> PrefixCache::take_local() {
  if (local_.free() == 0 && !idle_local_.empty()) {
    CacheBlock* block = std::get<2>(*idle_local_.begin());
    idle_local_.erase(idle_local_.begin());
    local_.give(block->local_page);
    block->local_page = -1;
    --stats_.local_pages;
  }
  return local_.take();
}

void PrefixCache::clear() {
  while (!idle_leaves_.empty()) remove(idle_leaves_.begin()->second);
}

}  // namespace carat
