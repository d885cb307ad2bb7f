// What sequences computed, kept for those that begin alike: a tree of blocks of P tokens. A path from the root is the
// beginning of a text, and each of its blocks owns the pages that hold the block's keys and values. The same beginning
// gives the same bits, whoever computed it, so blocks are shared as they are and never written again.
//
// Going on at position p needs every block before p on global layers, but only the W - 1 positions before p on sliding
// ones. So a block's local page may go while its global page stays: what is left of the local pages are the windows
// before the ends of turns, and whatever room allows beyond. An end within a block is a short block (a leaf), whose
// pages are copied by whoever goes on from it.
//
// Least recently used goes first: local pages that no turn ended in before those of a turn's end, leaves before what
// they follow. Nobody's pages are taken while a sequence uses them.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/kv_pages.h"

namespace carat {

// What a position's keys depend on, beside those before it: a token id, or a hash of a picture's row.
using CacheKey = uint64_t;

struct CacheBlock;  // of the tree; opaque outside prefix_cache.cc

struct CacheStats {
  int32_t global_pages = 0;  // held by the tree, used by a sequence or not
  int32_t local_pages = 0;
  uint64_t evicted_blocks = 0;
};

class PrefixCache {
 public:
  PrefixCache(PagePool& global, PagePool& local, int32_t window);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  struct Hit {
    std::vector<CacheBlock*> path;  // full blocks, from the first position on
    CacheBlock* tail = nullptr;     // a block of which the first `tail_tokens` follow the path
    int32_t tail_tokens = 0;
    int32_t tokens() const { return static_cast<int32_t>(path.size()) * kPageTokens + tail_tokens; }
  };
  // The longest beginning of `keys` from which a sequence can go on. `whole`: ranges [begin, end) of positions, in
  // order, that may not be cut. salt: texts of different salts know nothing of each other.
  Hit find(uint64_t salt, std::span<const CacheKey> keys, std::span<const std::pair<int32_t, int32_t>> whole) const;

  // The hit's blocks are a sequence's to read from now on, until release(); their local pages only within the window
  // before hit.tokens(), until release_local(). So is the tail, until both were called for it.
  void use(const Hit& hit);
  int32_t global_page(const CacheBlock* block) const;
  int32_t local_page(const CacheBlock* block) const;  // -1: gone

  // Puts the block that follows `path` (or the root of `salt`) into the tree, with its pages, which the tree owns from
  // now on; local_page -1: none. Where the block is there already, the pages given go back to their pools. The block
  // is used by the caller: append it to the path. keys: 1 to P; less than P only as a path's last block.
  CacheBlock* insert(uint64_t salt, std::span<CacheBlock* const> path, std::span<const CacheKey> keys,
                     int32_t global_page, int32_t local_page);
  // The caller's window has moved on. `keep`: a turn ended, or may go on, here.
  void release_local(CacheBlock* block, bool keep);
  // The caller is done with the whole path; its local pages have been released before.
  void release(std::span<CacheBlock* const> path);

  // A page, if need be by forgetting what was used least recently; none when all are in use.
  std::optional<int32_t> take_global();
  std::optional<int32_t> take_local();
  // Pages that could be taken.
  int32_t available_global() const { return global_.free() + unused_; }
  int32_t available_local() const { return local_.free() + static_cast<int32_t>(idle_local_.size()); }

  // Forgets everything that no sequence uses.
  void clear();
  CacheStats stats() const { return stats_; }

 private:
  using LocalOrder = std::tuple<bool, uint64_t, CacheBlock*>;  // kept, when, which
  using LeafOrder = std::pair<uint64_t, CacheBlock*>;

  CacheBlock* root_of(uint64_t salt);
  bool holds_window(std::span<CacheBlock* const> path, int32_t position) const;
  void update_idle(CacheBlock* block);
  void remove(CacheBlock* leaf);

  PagePool& global_;
  PagePool& local_;
  const int32_t window_;
  uint64_t clock_ = 0;
  int32_t unused_ = 0;                                               // blocks that no sequence uses
  std::unordered_map<uint64_t, std::unique_ptr<CacheBlock>> roots_;  // by salt
  std::set<LeafOrder> idle_leaves_;                                  // blocks without users and children
  std::set<LocalOrder> idle_local_;                                  // blocks whose local page nobody uses
  CacheStats stats_;
};

}  // namespace carat
