#include "base/threads.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

namespace carat {
namespace {

// A body that runs several stages: in each every item is claimed once, and writes what the stage before left.
struct Stages {
  Team* team;
  std::vector<int64_t> values;  // one per item, its number of finished stages
  std::vector<int> claims;      // [stage][item], how often it was claimed
  int64_t stages;
  std::atomic<bool> saw_unfinished{false};

  static void run(void* argument, int) {
    auto& self = *static_cast<Stages*>(argument);
    const auto count = static_cast<int64_t>(self.values.size());
    int64_t stage = 0;
    while (stage < self.stages) {
      for (;;) {
        const int64_t begin = self.team->claim(stage, 3, count);
        if (begin >= count) break;
        for (int64_t item = begin; item < std::min(begin + 3, count); ++item) {
          ++self.claims[static_cast<size_t>(stage * count + item)];
          // Its right neighbour was, as like as not, somebody else's in the stage before.
          const auto mine = static_cast<size_t>(item);
          if (self.values[mine] != stage) self.saw_unfinished = true;
          self.values[mine] = stage + 1;
        }
      }
      stage = self.team->next_stage(stage);
    }
  }
};

class TeamTest : public testing::TestWithParam<int> {};

TEST_P(TeamTest, EveryItemIsClaimedOnceInEveryStage) {
  auto made = Team::create(GetParam());
  Team& team = **made;
  for (int repeat = 0; repeat < 20; ++repeat) {
    Stages stages{&team, std::vector<int64_t>(100, 0), std::vector<int>(100 * 7, 0), 7};
    team.run(&Stages::run, &stages);
    EXPECT_FALSE(stages.saw_unfinished);
    EXPECT_TRUE(std::all_of(stages.values.begin(), stages.values.end(), [](int64_t done) { return done == 7; }));
    EXPECT_TRUE(std::all_of(stages.claims.begin(), stages.claims.end(), [](int claims) { return claims == 1; }));
  }
}

TEST_P(TeamTest, WhatWasWrittenBeforeABarrierIsSeenAfter) {
  struct Shared {
    Team* team;
    std::vector<int> written;  // plain ints: a barrier that orders nothing is a race, which ThreadSanitizer sees
    std::atomic<int> wrong{0};
  };
  auto made = Team::create(GetParam());
  Team& team = **made;
  Shared shared{&team, std::vector<int>(static_cast<size_t>(team.workers()), 0)};
  const auto body = [](void* argument, int worker) {
    auto& self = *static_cast<Shared*>(argument);
    for (int round = 1; round <= 50; ++round) {
      self.written[static_cast<size_t>(worker)] = round;
      self.team->barrier();
      for (const int value : self.written) self.wrong += value != round;
      self.team->barrier();
    }
  };
  team.run(body, &shared);
  EXPECT_EQ(shared.wrong, 0);
}

TEST_P(TeamTest, WakesWorkersThatWentToSleep) {
  auto made = Team::create(GetParam());
  Team& team = **made;
  std::atomic<int> ran{0};
  const auto body = [](void* argument, int) { ++*static_cast<std::atomic<int>*>(argument); };
  team.run(body, &ran);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // far longer than they spin
  team.run(body, &ran);
  EXPECT_EQ(ran, 2 * team.workers());
}

INSTANTIATE_TEST_SUITE_P(Workers, TeamTest, testing::Values(1, 2, 3, 8));

TEST(TeamSize, OneLessWhileCoresAreTakenAndAllAgainAfterwards) {
  using std::chrono::milliseconds;
  TeamSize size(3);
  auto now = TeamSize::Clock::now();
  const milliseconds took(30);
  bool core_taken = false;
  const auto run = [&](milliseconds waited, bool taken) {
    if (size.wants_look(now)) size.looked(core_taken, now);
    const int active = size.choose(now);
    now += took;
    size.look_back(active, took, waited, taken, now);
    return active;
  };
  EXPECT_EQ(run(milliseconds(50), false), 3);  // waits alone are little work
  EXPECT_EQ(run(milliseconds(50), false), 3);
  EXPECT_EQ(run(milliseconds(19), true), 3);  // under a third of two workers' time
  EXPECT_EQ(run(milliseconds(19), true), 3);
  EXPECT_EQ(run(milliseconds(21), true), 3);
  EXPECT_EQ(run(milliseconds(0), true), 3);  // not twice in a row
  EXPECT_EQ(run(milliseconds(21), true), 3);
  EXPECT_EQ(run(milliseconds(21), true), 3);
  core_taken = true;
  for (milliseconds rest = TeamSize::kShortRest; rest <= TeamSize::kLongRest; rest *= 2) {
    const auto until = now + rest;
    while (now < until) EXPECT_EQ(run(milliseconds(0), false), 2);  // who looks finds none: a longer rest
  }
  core_taken = false;
  EXPECT_EQ(run(milliseconds(21), true), 3);  // there was a core, but not for long
  const auto until = now + TeamSize::kLongRest;
  while (now < until) EXPECT_EQ(run(milliseconds(0), false), 2);
  EXPECT_EQ(run(milliseconds(0), false), 3);  // the cores are back
  EXPECT_EQ(run(milliseconds(21), true), 3);
  EXPECT_EQ(run(milliseconds(21), true), 3);
  const auto short_rest = now + TeamSize::kShortRest;
  while (now < short_rest) EXPECT_EQ(run(milliseconds(0), false), 2);
  EXPECT_EQ(run(milliseconds(0), false), 3);
}

TEST(TeamSize, AShortRunInBetweenChangesNothing) {
  using std::chrono::microseconds;
  using std::chrono::milliseconds;
  TeamSize size(2);
  auto now = TeamSize::Clock::now();
  const auto step_and_draw = [&] {  // a step beside somebody who took the core, a token drawn by one of two workers
    size.look_back(2, milliseconds(30), milliseconds(20), true, now);
    size.look_back(2, microseconds(100), microseconds(90), false, now);
  };
  step_and_draw();
  EXPECT_EQ(size.choose(now), 2);
  step_and_draw();
  EXPECT_EQ(size.choose(now), 1);
  now += TeamSize::kShortRest;
  EXPECT_TRUE(size.wants_look(now));
  size.looked(false, now);
  size.look_back(2, microseconds(100), microseconds(90), false, now);
  EXPECT_EQ(size.choose(now), 2);
  size.look_back(2, milliseconds(30), milliseconds(20), true, now);  // there was no core after all: the rest is longer
  EXPECT_EQ(size.choose(now), 1);
  EXPECT_FALSE(size.wants_look(now + TeamSize::kShortRest));
  EXPECT_TRUE(size.wants_look(now + 2 * TeamSize::kShortRest));
}

TEST(TeamSize, AllBeginAnewAfterAWhileWithoutWork) {
  TeamSize size(2);
  auto now = TeamSize::Clock::now();
  const std::chrono::milliseconds took(10);
  for (int i = 0; i < 2; ++i) size.look_back(2, took, took, true, now);
  EXPECT_EQ(size.choose(now + TeamSize::kShortRest), 1);  // until somebody has looked
  EXPECT_EQ(size.choose(now + TeamSize::kShortRest + 2 * TeamSize::kLongRest), 2);
}

TEST(TeamSize, TwoOfThreeMayBeTaken) {
  TeamSize size(3);
  const auto now = TeamSize::Clock::now();
  const std::chrono::milliseconds took(10);
  for (int i = 0; i < 2; ++i) size.look_back(3, took, 2 * took, true, now);
  EXPECT_EQ(size.choose(now), 2);
  size.look_back(2, took, took, true, now);
  EXPECT_EQ(size.choose(now), 1);
  size.look_back(1, took, took, true, now);
  EXPECT_EQ(size.choose(now), 1);
  ASSERT_TRUE(size.wants_look(now + TeamSize::kLongRest));
  size.looked(false, now + TeamSize::kLongRest);
  EXPECT_EQ(size.choose(now + TeamSize::kLongRest), 3);
}

TEST(Team, HasAtLeastOneWorker) {
  EXPECT_EQ((*Team::create(0))->workers(), 1);
  EXPECT_EQ((*Team::create(-4))->workers(), 1);
}

}  // namespace
}  // namespace carat
