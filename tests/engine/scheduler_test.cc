#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <utility>

#include "base/random.h"

namespace carat {
namespace {

using Plan = std::vector<std::pair<int32_t, int32_t>>;

Plan plan(const std::vector<PendingRows>& pending, StepLimits limits) {
  if (limits.beside_rows == 0) limits.beside_rows = limits.max_rows;
  Plan result;
  for (const PlannedRows& rows : plan_step(pending, limits)) result.emplace_back(rows.sequence, rows.rows);
  return result;
}

PendingRows prompt(int32_t rows) { return {rows, rows - 1}; }
constexpr PendingRows kDecode{1, 0};

TEST(Scheduler, NothingPendingNothingPlanned) { EXPECT_EQ(plan({}, {16, 16}), Plan{}); }

TEST(Scheduler, DecodeFirstThenPromptsInOrder) {
  EXPECT_EQ(plan({prompt(10), kDecode, prompt(4), kDecode}, {16, 16}), (Plan{{1, 1}, {3, 1}, {0, 10}, {2, 4}}));
}

TEST(Scheduler, PromptsAreCutToWhatRoomIsLeft) {
  EXPECT_EQ(plan({prompt(100), kDecode}, {16, 16}), (Plan{{1, 1}, {0, 15}}));
}

TEST(Scheduler, ALaterPromptNeverOvertakes) {
  EXPECT_EQ(plan({prompt(100), prompt(2)}, {16, 16}), (Plan{{0, 16}}));
  EXPECT_EQ(plan({prompt(14), prompt(20)}, {16, 16}), (Plan{{0, 14}, {1, 2}}));
}

TEST(Scheduler, OnlyAPromptThatIsAloneTakesAll) {
  EXPECT_EQ(plan({prompt(100)}, {64, 64, 16}), (Plan{{0, 64}}));
  EXPECT_EQ(plan({prompt(100), prompt(2)}, {64, 64, 16}), (Plan{{0, 16}}));
  EXPECT_EQ(plan({prompt(100), kDecode}, {64, 64, 16}), (Plan{{1, 1}, {0, 15}}));
  EXPECT_EQ(plan({prompt(100), {0, 0}}, {64, 64, 16}), (Plan{{0, 16}}));  // whose token is in flight
}

TEST(Scheduler, WantedLogitsBoundTheRows) {
  EXPECT_EQ(plan({{100, 0}}, {64, 8}), (Plan{{0, 8}}));
  EXPECT_EQ(plan({{100, 30}}, {64, 8}), (Plan{{0, 38}}));
  EXPECT_EQ(plan({{100, 100}}, {64, 8}), (Plan{{0, 64}}));
}

TEST(Scheduler, RandomQueuesAlwaysMoveForwardWithinTheLimits) {
  for (uint64_t trial = 0; trial < 3000; ++trial) {
    uint64_t draws = 0;
    const auto draw = [&](int32_t n) { return static_cast<int32_t>(uniform_draw(trial, draws++) * n); };
    std::vector<PendingRows> pending(static_cast<size_t>(1 + draw(6)));
    for (PendingRows& want : pending) {
      want.rows = draw(3) == 0 ? 1 : 1 + draw(200);
      want.quiet = draw(2) == 0 ? want.rows - 1 : draw(want.rows + 1);
    }
    StepLimits limits{8 + draw(100), 6 + draw(30)};
    limits.beside_rows = 8 + draw(limits.max_rows - 7);
    int32_t rows = 0, logits = 0;
    const auto planned = plan_step(pending, limits);
    ASSERT_FALSE(planned.empty());
    std::vector<bool> seen(pending.size());
    for (const PlannedRows& p : planned) {
      const auto i = static_cast<size_t>(p.sequence);
      ASSERT_FALSE(seen[i]);
      seen[i] = true;
      ASSERT_TRUE(p.rows >= 1 && p.rows <= pending[i].rows);
      rows += p.rows;
      logits += std::max(0, p.rows - pending[i].quiet);
    }
    ASSERT_LE(rows, limits.max_rows);
    ASSERT_LE(logits, limits.max_logits_rows);
    for (size_t i = 0; i < pending.size(); ++i) {
      ASSERT_TRUE(seen[i] || pending[i].rows != 1) << "a decoding sequence was left out";
    }
  }
}

}  // namespace
}  // namespace carat
