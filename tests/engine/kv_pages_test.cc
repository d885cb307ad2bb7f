#include "engine/kv_pages.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/fake_backend.h"
#include "engine/random.h"

namespace carat {
namespace {

TEST(PagePool, NeverSharesAndNeverLeaks) {
  PagePool pool(50);
  std::set<int32_t> held;
  for (uint64_t i = 0; i < 20000; ++i) {
    const bool take = pool.free() > 0 && (held.empty() || uniform_draw(1, i) < 0.5);
    if (take) {
      const int32_t page = pool.take();
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
  pool.take();
  pool.take();
  EXPECT_DEATH(pool.take(), "assertion failed");
}

TEST(KvPlan, RingHoldsWindowAndChunkWhereverTheyBegin) {
  ModelConfig config = tiny_config();
  for (int32_t window : {1, 15, 16, 63, 64, 65, 512, 1024}) {
    config.window = window;
    for (int32_t rows : {1, 2, 63, 64, 65, 256, 512}) {
      const int32_t ring = local_ring_pages(config, {100000, rows, 1});
      // A chunk that begins at `past` stores rows while its first row still needs the W - 1 keys before it.
      for (int32_t past = 0; past < 3 * kPageTokens; ++past) {
        const int32_t first_page = std::max(0, past - window + 1) / kPageTokens;
        const int32_t last_page = (past + rows - 1) / kPageTokens;
        ASSERT_LE(last_page - first_page + 1, ring) << window << ' ' << rows << ' ' << past;
      }
    }
  }
}

TEST(KvPlan, NeverMoreLocalThanTheContext) {
  ModelConfig config = tiny_config();
  config.window = 512;
  const KvPlan plan = plan_kv(config, {100, 32, 3});
  EXPECT_EQ(plan.global_pages, 6);
  EXPECT_EQ(plan.local_pages, 6);
  EXPECT_EQ(plan.max_rows, 32);
}

TEST(Ring, WindowIsThereUntilItsOldestKeyIsOverwritten) {
  // 4 pages hold 256 positions: after 300 the oldest left is 44. Window 10: continuing at 53 needs 44 .. 52.
  EXPECT_TRUE(ring_still_holds_window(53, 300, 4, 10));
  EXPECT_FALSE(ring_still_holds_window(52, 300, 4, 10));
  EXPECT_FALSE(ring_still_holds_window(0, 300, 4, 10));
  EXPECT_TRUE(ring_still_holds_window(0, 256, 4, 10));
}

}  // namespace
}  // namespace carat
