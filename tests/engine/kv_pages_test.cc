#include "engine/kv_pages.h"

#include <gtest/gtest.h>

#include <set>

#include "base/random.h"
#include "engine/fake_backend.h"

namespace carat {
namespace {

TEST(PagePool, NeverSharesAndNeverLeaks) {
  PagePool pool(50);
  std::set<int32_t> held;
  for (uint64_t i = 0; i < 20000; ++i) {
    const bool take = pool.free() > 0 && (held.empty() || uniform_draw(1, i) < 0.5);
    if (take) {
      const int32_t page = pool.take().value();
      ASSERT_TRUE(page >= 0 && page < 50);
      ASSERT_TRUE(held.insert(page).second) << "page " << page << " was given out twice";
    } else {
      auto it = held.begin();
      std::advance(it, static_cast<ptrdiff_t>(uniform_draw(2, i) * static_cast<double>(held.size())));
      pool.give(*it);
      held.erase(it);
    }
    ASSERT_EQ(pool.free() + static_cast<int32_t>(held.size()), 50);
  }
}

TEST(PagePoolDeathTest, RefusesWhatNobodyHolds) {
  PagePool pool(2);
  EXPECT_DEATH(pool.give(0), "assertion failed");
  EXPECT_DEATH(pool.give(2), "assertion failed");
  EXPECT_TRUE(pool.take());
  EXPECT_TRUE(pool.take());
  EXPECT_FALSE(pool.take());
}

TEST(KvPlan, RingHoldsWindowAndChunkWhereverTheyBegin) {
  ModelConfig config = tiny_config();
  for (int32_t window : {1, 15, 16, 63, 64, 65, 512, 1024}) {
    config.window = window;
    for (int32_t rows : {1, 2, 63, 64, 65, 256, 512}) {
      const int32_t ring = local_ring_pages(config, {100000, rows, 1, 1, 0});
      // A chunk that begins at `past` stores rows while its first row still needs the W - 1 keys before it.
      for (int32_t past = 0; past < 3 * kPageTokens; ++past) {
        const int32_t first_page = std::max(0, past - window + 1) / kPageTokens;
        const int32_t last_page = (past + rows - 1) / kPageTokens;
        ASSERT_LE(last_page - first_page + 1, ring) << window << ' ' << rows << ' ' << past;
      }
    }
  }
}

TEST(KvPlan, WindowsNotContextsOnSlidingLayers) {
  ModelConfig config = tiny_config();
  config.window = 512;
  const KvPlan plan = plan_kv(config, {32768, 256, 3, 3, 20});
  EXPECT_EQ(plan.global_pages, 3 * 512 + 20);
  EXPECT_EQ(plan.local_pages, 3 * (8 + 2) + 2 * 4 + 20);
  EXPECT_EQ(plan.slots, 3);
  EXPECT_EQ(plan_kv(config, {32768, 256, 3, 1, 20}).global_pages, 512 + 20);
  EXPECT_EQ(plan_kv(config, {32768, 256, 3, 1, 20}).local_pages, plan.local_pages);
  EXPECT_EQ(plan_kv(config, {100, 32, 3, 3, 0}).local_pages, 3 * 2 + 2);  // never more than the context
}

}  // namespace
}  // namespace carat
