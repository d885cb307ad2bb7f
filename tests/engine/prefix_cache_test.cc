// The tree of blocks by itself: what is found, who owns which page, what goes first.
#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <numeric>

namespace carat {
namespace {

using Range = std::pair<int32_t, int32_t>;

std::vector<CacheKey> keys_of(size_t count, CacheKey first = 1) {
  std::vector<CacheKey> keys(count);
  std::iota(keys.begin(), keys.end(), first);
  return keys;
}

struct Rig {
  explicit Rig(int32_t pages, int32_t window = 100) : global(pages), local(pages), cache(global, local, window) {}

  // Stores `keys` as a sequence would that computes and ends; pages that cannot be had end the test.
  void store(std::span<const CacheKey> keys, uint64_t salt = 0) {
    std::vector<CacheBlock*> path;
    for (size_t begin = 0; begin < keys.size(); begin += kPageTokens) {
      const auto block = keys.subspan(begin, std::min<size_t>(kPageTokens, keys.size() - begin));
      path.push_back(cache.insert(salt, path, block, cache.take_global().value(), cache.take_local().value()));
    }
    for (CacheBlock* block : path) cache.release_local(block, true);
    cache.release(path);
  }
  int32_t found(std::span<const CacheKey> keys, std::vector<Range> whole = {}, uint64_t salt = 0) const {
    return cache.find(salt, keys, whole).tokens();
  }

  PagePool global, local;
  PrefixCache cache;
};

TEST(PrefixCache, FindsTheLongestCommonBeginning) {
  Rig rig(20);
  rig.store(keys_of(200));
  for (size_t length : {1, 63, 64, 65, 199, 200}) EXPECT_EQ(rig.found(keys_of(length)), static_cast<int32_t>(length));
  EXPECT_EQ(rig.found(keys_of(300)), 200);
  auto other = keys_of(300);
  other[130] = 9999;
  EXPECT_EQ(rig.found(other), 130);
  EXPECT_EQ(rig.found(keys_of(50, 2)), 0);
  EXPECT_EQ(rig.found({}), 0);
  EXPECT_EQ(rig.found(keys_of(200), {}, 7), 0);
}

TEST(PrefixCache, WhatMustBeWholeIsNotCut) {
  Rig rig(20);
  rig.store(keys_of(300));
  EXPECT_EQ(rig.found(keys_of(250), {{100, 200}}), 250);
  EXPECT_EQ(rig.found(keys_of(200), {{100, 200}}), 200);
  EXPECT_EQ(rig.found(keys_of(199), {{100, 200}}), 100);
  EXPECT_EQ(rig.found(keys_of(199), {{60, 100}, {100, 200}}), 100);
  EXPECT_EQ(rig.found(keys_of(199), {{0, 200}}), 0);
}

TEST(PrefixCache, TheSameBlockTwiceIsKeptOnce) {
  Rig rig(20);
  rig.store(keys_of(200));
  rig.store(keys_of(200));
  rig.store(keys_of(150));
  EXPECT_EQ(rig.cache.stats().global_pages, 4);
  EXPECT_EQ(rig.global.free(), 16);
  rig.store(keys_of(230));  // the short block of 8 is the beginning of one of 38
  EXPECT_EQ(rig.cache.stats().global_pages, 4);
  EXPECT_EQ(rig.found(keys_of(230)), 230);
  rig.cache.clear();
  EXPECT_EQ(rig.global.free(), 20);
  EXPECT_EQ(rig.local.free(), 20);
}

TEST(PrefixCache, LocalPagesOfTurnsEndsOutliveTheOthers) {
  Rig rig(8, 64);  // a window of one page and a bit
  std::vector<CacheBlock*> path;
  const auto keys = keys_of(8 * kPageTokens);
  for (size_t i = 0; i < 8; ++i) {
    path.push_back(rig.cache.insert(0, path, std::span(keys).subspan(i * kPageTokens, kPageTokens),
                                    rig.cache.take_global().value(), rig.cache.take_local().value()));
  }
  for (size_t i = 0; i < 8; ++i) rig.cache.release_local(path[i], i == 2 || i == 3 || i == 7);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(rig.cache.take_local());  // 0, 1, 4, 5, 6 go
  EXPECT_EQ(rig.found(std::span(keys).first(512)), 512);            // still in use: block 7 has its window
  EXPECT_EQ(rig.found(std::span(keys).first(500)), 256);            // within block 7 the window begins in 6
  EXPECT_EQ(rig.found(std::span(keys).first(256)), 256);
  EXPECT_EQ(rig.found(std::span(keys).first(192)), 192);
  EXPECT_EQ(rig.found(std::span(keys).first(191)), 191);  // the window is what block 2 begins with
  EXPECT_EQ(rig.found(std::span(keys).first(190)), 0);    // and here it begins in block 1, which is gone
  EXPECT_TRUE(rig.cache.take_local());
  EXPECT_EQ(rig.found(std::span(keys).first(192)), 0);
  EXPECT_EQ(rig.found(std::span(keys).first(512)), 512);
  rig.cache.release(path);
}

TEST(PrefixCache, WhatIsUsedIsNeverTaken) {
  Rig rig(4);
  rig.store(keys_of(256));
  const PrefixCache::Hit hit = rig.cache.find(0, keys_of(128), {});
  rig.cache.use(hit);
  EXPECT_EQ(rig.cache.available_global(), 2);
  EXPECT_TRUE(rig.cache.take_global());
  EXPECT_TRUE(rig.cache.take_global());
  EXPECT_FALSE(rig.cache.take_global());
  EXPECT_EQ(rig.found(keys_of(256)), 128);
  for (CacheBlock* block : hit.path) rig.cache.release_local(block, false);
  rig.cache.release(hit.path);
  EXPECT_TRUE(rig.cache.take_global());
  EXPECT_EQ(rig.found(keys_of(256)), 64);  // the leaf went first
}

TEST(PrefixCache, ATailIsPinnedUntilItIsReleased) {
  Rig rig(1);
  rig.store(keys_of(40));
  const PrefixCache::Hit hit = rig.cache.find(0, keys_of(30), {});
  EXPECT_EQ(hit.tail_tokens, 30);
  rig.cache.use(hit);
  EXPECT_FALSE(rig.cache.take_global());
  EXPECT_FALSE(rig.cache.take_local());
  CacheBlock* tail = hit.tail;
  rig.cache.release_local(tail, false);
  rig.cache.release({&tail, 1});
  EXPECT_TRUE(rig.cache.take_global());
}

}  // namespace
}  // namespace carat
