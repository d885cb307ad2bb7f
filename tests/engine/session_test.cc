// Sessions: what a following request re-uses of the KV cache, and that it changes nothing but the work.
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/fake_backend.h"
#include "engine/random.h"

namespace carat {
namespace {

class SessionTest : public ::testing::Test {
 protected:
  void start(EngineOptions options) { engine_ = std::move(Engine::create(backend_, config_, options).value()); }
  void TearDown() override {
    EXPECT_TRUE(backend_.faults.empty()) << backend_.faults.front();
    for (SessionId session : {1, 2, 3, 4, 5}) engine_->drop_session(session);
    EXPECT_EQ(engine_->free_global_pages(), free_global_);
    EXPECT_EQ(engine_->free_local_pages(), free_local_);
  }

  // Runs one request to its end; the answer must be what a backend without a cache would give.
  Usage ask(const std::vector<int32_t>& prompt, int32_t count, SessionId session = 1) {
    if (free_global_ < 0) free_global_ = engine_->free_global_pages(), free_local_ = engine_->free_local_pages();
    Request request;
    request.prompt = prompt;
    request.session = session;
    request.sampling.temperature = 0;
    request.sampling.max_tokens = count;
    const auto id = engine_->submit(request);
    EXPECT_TRUE(id.ok());
    std::vector<Event> events;
    while (engine_->step(events)) {
    }
    std::vector<int32_t> answer;
    for (const Event& event : events) {
      if (event.token >= 0) answer.push_back(event.token);
    }
    EXPECT_EQ(answer, FakeBackend::continuation(config_, prompt, count));
    last_ = prompt;
    last_.insert(last_.end(), answer.begin(), answer.end());
    return events.back().usage;
  }

  std::vector<int32_t> last_with(size_t kept, size_t added, uint64_t seed = 1) const {
    std::vector<int32_t> tokens(last_.begin(), last_.begin() + static_cast<ptrdiff_t>(kept));
    for (size_t i = 0; i < added; ++i) tokens.push_back(25 + static_cast<int32_t>(10 * uniform_draw(seed, i)));
    return tokens;
  }

  ModelConfig config_ = tiny_config();
  FakeBackend backend_{config_};
  std::unique_ptr<Engine> engine_;
  std::vector<int32_t> last_{2, 3, 4};
  int32_t free_global_ = -1, free_local_ = -1;
};

TEST_F(SessionTest, ATurnComputesOnlyWhatIsNew) {
  start({.context = 1000, .max_rows = 32});
  EXPECT_EQ(ask(last_with(3, 50), 20).reused_tokens, 0);
  int64_t rows = backend_.rows_computed;
  for (int turn = 0; turn < 8; ++turn) {
    const auto prompt = last_with(last_.size(), 30);
    const Usage usage = ask(prompt, 20);
    EXPECT_EQ(usage.reused_tokens,
              static_cast<int32_t>(prompt.size()) - 31);  // the last sampled token was never computed
    EXPECT_EQ(backend_.rows_computed - rows, 31 + 19);
    rows = backend_.rows_computed;
  }
}

TEST_F(SessionTest, TheSamePromptAgainComputesOneRow) {
  start({.context = 500, .max_rows = 32});
  const auto prompt = last_with(3, 100);
  ask(prompt, 1);
  const int64_t rows = backend_.rows_computed;
  EXPECT_EQ(ask(prompt, 1).reused_tokens, 102);
  EXPECT_EQ(backend_.rows_computed - rows, 1);
}

TEST_F(SessionTest, GoesBackAsFarAsTheRingHoldsTheWindow) {
  // Window 100, chunks of 32: a ring of 4 pages, 256 positions. 600 stored: 344 is the oldest, so 443 is the earliest
  // start.
  start({.context = 1000, .max_rows = 32});
  ask(last_with(3, 590), 8);
  ASSERT_EQ(last_.size(), 601u);
  EXPECT_EQ(ask(last_with(443, 10), 1).reused_tokens, 443);
}

TEST_F(SessionTest, BeyondTheRingEverythingIsComputedAnew) {
  start({.context = 1000, .max_rows = 32});
  ask(last_with(3, 590), 8);
  EXPECT_EQ(ask(last_with(442, 10), 1).reused_tokens, 0);
}

TEST_F(SessionTest, RandomRollbacksNeverChangeAnAnswer) {
  start({.context = 1500, .max_rows = 32});
  ask(last_with(3, 300), 5);
  for (uint64_t i = 0; i < 60; ++i) {
    const size_t most = std::min<size_t>(last_.size(), 1200);
    const auto kept = static_cast<size_t>((0.6 + 0.4 * uniform_draw(11, i)) * static_cast<double>(most));
    ask(last_with(std::max<size_t>(1, kept), static_cast<size_t>(200 * uniform_draw(12, i)), i), 5);
  }
}

TEST_F(SessionTest, ACancelledAnswerKeepsWhatWasComputed) {
  start({.context = 1000, .max_rows = 32});
  ask(last_with(3, 10), 1);
  Request request;
  request.prompt = last_with(3, 200, 5);
  request.session = 1;
  const RequestId id = engine_->submit(request).value();
  std::vector<Event> events;
  for (int i = 0; i < 3; ++i) engine_->step(events);
  EXPECT_TRUE(engine_->cancel(id));
  last_ = request.prompt;
  EXPECT_EQ(ask(last_with(last_.size(), 5), 3).reused_tokens, 3 + 3 * 32);
}

TEST_F(SessionTest, TheLongestRestingSessionMakesRoom) {
  start({.context = 500, .max_rows = 32, .max_sequences = 2});
  const auto prompt = last_with(3, 80);
  ask(prompt, 1, 1);
  ask(prompt, 1, 2);
  ask(prompt, 1, 1);
  ask(prompt, 1, 3);  // session 2 goes
  EXPECT_EQ(ask(prompt, 1, 1).reused_tokens, 82);
  EXPECT_EQ(ask(prompt, 1, 2).reused_tokens, 0);
}

TEST_F(SessionTest, OneRequestAtATime) {
  start({.context = 500, .max_rows = 32, .max_sequences = 2});
  free_global_ = engine_->free_global_pages(), free_local_ = engine_->free_local_pages();
  Request request;
  request.prompt = {2, 3};
  request.session = 1;
  request.sampling.max_tokens = 3;
  ASSERT_TRUE(engine_->submit(request).ok());
  EXPECT_FALSE(engine_->submit(request).ok());
  std::vector<Event> events;
  while (engine_->step(events)) {
  }
  EXPECT_TRUE(engine_->submit(request).ok());
  while (engine_->step(events)) {
  }
}

TEST_F(SessionTest, AnObserverOfEarlierPositionsHasThemComputedAgain) {
  start({.context = 500, .max_rows = 32});
  ask(last_with(3, 60), 1);
  Request request;
  request.prompt = last_;
  request.session = 1;
  request.sampling.max_tokens = 0;
  request.observe_from = 20;
  int seen = 0;
  request.on_logits = [&](int32_t, std::span<const float>) { ++seen; };
  ASSERT_TRUE(engine_->submit(request).ok());
  std::vector<Event> events;
  while (engine_->step(events)) {
  }
  EXPECT_EQ(seen, 64 - 20);
  EXPECT_EQ(events.back().usage.reused_tokens, 20);
}

}  // namespace
}  // namespace carat
