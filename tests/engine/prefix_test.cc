// What a request finds in the prefix cache, and that it changes nothing but the work.
#include <gtest/gtest.h>

#include <map>

#include "base/random.h"
#include "engine/engine.h"
#include "engine/fake_backend.h"

namespace carat {
namespace {

class PrefixTest : public ::testing::Test {
 protected:
  void start(EngineOptions options) { engine_ = std::move(Engine::create(backend_, config_, options).value()); }
  void TearDown() override {
    EXPECT_TRUE(backend_.faults.empty()) << backend_.faults.front();
    engine_->clear_cache();
    EXPECT_EQ(engine_->free_global_pages(), free_global_);
    EXPECT_EQ(engine_->free_local_pages(), free_local_);
  }

  // Runs one request to its end; the answer must be what a backend without a cache would give.
  Usage ask(const std::vector<int32_t>& prompt, int32_t count, uint64_t salt = 0) {
    if (free_global_ < 0) free_global_ = engine_->free_global_pages(), free_local_ = engine_->free_local_pages();
    Request request;
    request.prompt = prompt;
    request.cache_salt = salt;
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

TEST_F(PrefixTest, ATurnComputesOnlyWhatIsNew) {
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

TEST_F(PrefixTest, TheSamePromptAgainComputesOneRow) {
  start({.context = 500, .max_rows = 32});
  const auto prompt = last_with(3, 100);
  ask(prompt, 1);
  const int64_t rows = backend_.rows_computed;
  EXPECT_EQ(ask(prompt, 1).reused_tokens, 102);
  EXPECT_EQ(backend_.rows_computed - rows, 1);
}

TEST_F(PrefixTest, GoesBackAnyDistance) {
  start({.context = 1000, .max_rows = 32});
  ask(last_with(3, 590), 8);
  for (size_t kept : {443, 442, 200, 64, 63, 1}) {
    const int32_t reused = ask(last_with(kept, 10, kept), 1).reused_tokens;
    EXPECT_GE(reused, static_cast<int32_t>(kept));
    EXPECT_LE(reused, static_cast<int32_t>(kept) + 3);  // chance may repeat a token or two
  }
}

TEST_F(PrefixTest, AllTurnsOfAChatCanBeAskedAgain) {
  // Room for the windows of the turns, not for all that was between them.
  start({.context = 2000, .max_rows = 32, .cache_pages = 40});
  std::vector<std::vector<int32_t>> turns;
  for (uint64_t turn = 0; turn < 8; ++turn) {
    turns.push_back(last_with(last_.size(), 180, turn));
    ask(turns.back(), 20);
  }
  for (size_t turn = turns.size(); turn-- > 0;) {
    EXPECT_EQ(ask(turns[turn], 20).reused_tokens, static_cast<int32_t>(turns[turn].size()) - 1) << turn;
  }
}

TEST_F(PrefixTest, ASecondChatSharesTheSystemText) {
  start({.context = 1000, .max_rows = 32, .max_sequences = 2});
  const auto system = last_with(3, 300);
  auto first = system, second = system;
  for (int32_t i = 0; i < 40; ++i) first.push_back(25 + i % 10), second.push_back(30 + i % 7);
  ask(first, 10);
  EXPECT_EQ(ask(second, 10).reused_tokens, 303);
  EXPECT_EQ(ask(first, 10).reused_tokens, 342);
}

TEST_F(PrefixTest, SaltsShareNothing) {
  start({.context = 500, .max_rows = 32});
  const auto prompt = last_with(3, 100);
  ask(prompt, 1, 1);
  EXPECT_EQ(ask(prompt, 1, 2).reused_tokens, 0);
  EXPECT_EQ(ask(prompt, 1, 1).reused_tokens, 102);
}

TEST_F(PrefixTest, LeastRecentlyUsedGoesFirst) {
  start({.context = 300, .max_rows = 32, .cache_pages = 6});  // 5 + 6 pages, 3 a prompt
  const auto a = last_with(1, 150, 1), b = last_with(1, 150, 2), c = last_with(1, 150, 3), d = last_with(1, 150, 4);
  ask(a, 1);
  ask(b, 1);
  ask(c, 1);
  EXPECT_EQ(ask(a, 1).reused_tokens, 150);
  ask(d, 1);  // takes b's
  EXPECT_EQ(ask(a, 1).reused_tokens, 150);
  EXPECT_LT(ask(b, 1).reused_tokens, 150);
}

TEST_F(PrefixTest, RandomRollbacksNeverChangeAnAnswer) {
  start({.context = 1500, .max_rows = 32});
  ask(last_with(3, 300), 5);
  for (uint64_t i = 0; i < 60; ++i) {
    const size_t most = std::min<size_t>(last_.size(), 1200);
    const auto kept = static_cast<size_t>(uniform_draw(11, i) * static_cast<double>(most));
    ask(last_with(std::max<size_t>(1, kept), static_cast<size_t>(200 * uniform_draw(12, i)), i), 5);
  }
}

// Ten thousand random operations on pools so small that pages are evicted, shared, copied and preempted all the time.
// FakeBackend computes from what the pages hold, so one wrong page is a wrong token.
TEST_F(PrefixTest, TenThousandRandomOperations) {
  EngineOptions options{.context = 500, .max_rows = 48, .max_sequences = 4, .cache_pages = 5};
  options.global_pages = 12;
  options.local_pages = 20;
  start(options);
  free_global_ = engine_->free_global_pages(), free_local_ = engine_->free_local_pages();
  struct Asked {
    std::vector<int32_t> prompt;
    int32_t count;
    std::vector<int32_t> answer;
  };
  std::map<RequestId, Asked> asked;
  std::vector<std::vector<int32_t>> texts{{2, 3, 4}};
  std::vector<Event> events;
  int64_t reused = 0, ended = 0;
  for (uint64_t i = 0; i < 10000; ++i) {
    const auto draw = [&](uint64_t what) { return uniform_draw(100 + what, i); };
    if (draw(0) < 0.12 && asked.size() < 9) {
      const auto& text = texts[static_cast<size_t>(draw(1) * static_cast<double>(texts.size()))];
      std::vector<int32_t> prompt(
          text.begin(), text.begin() + static_cast<ptrdiff_t>(1 + draw(2) * static_cast<double>(text.size() - 1)));
      const auto added = static_cast<size_t>(draw(3) * 150);
      for (size_t j = 0; j < added && prompt.size() < 400; ++j) {
        prompt.push_back(5 + static_cast<int32_t>(20 * uniform_draw(i, j)));
      }
      Request request;
      request.prompt = prompt;
      request.sampling.temperature = 0;
      request.sampling.max_tokens = static_cast<int32_t>(draw(4) * draw(4) * 400);
      request.priority = static_cast<int32_t>(draw(5) * 3);
      const RequestId id = engine_->submit(request).value();
      asked[id] = {std::move(prompt), request.sampling.max_tokens, {}};
    } else if (draw(0) < 0.13 && !asked.empty()) {
      engine_->cancel(
          std::next(asked.begin(), static_cast<ptrdiff_t>(draw(6) * static_cast<double>(asked.size())))->first);
    } else {
      engine_->step(events);
    }
    for (const Event& event : events) {
      Asked& one = asked.at(event.request);
      if (event.token >= 0) one.answer.push_back(event.token);
      if (event.finish == FinishReason::kNone) continue;
      const int32_t room = 500 - static_cast<int32_t>(one.prompt.size());
      auto expected = FakeBackend::continuation(config_, one.prompt, std::min(one.count, room));
      if (event.finish == FinishReason::kCancelled) expected.resize(one.answer.size());
      ASSERT_EQ(one.answer, expected) << "operation " << i;
      ++ended;
      reused += event.usage.reused_tokens;
      std::vector<int32_t> text = std::move(one.prompt);
      text.insert(text.end(), one.answer.begin(), one.answer.end());
      texts.push_back(std::move(text));
      if (texts.size() > 12) texts.erase(texts.begin() + 1);
      asked.erase(event.request);
    }
    events.clear();
    ASSERT_TRUE(backend_.faults.empty()) << "operation " << i << ": " << backend_.faults.front();
  }
  while (engine_->step(events)) {
  }
  EXPECT_GT(ended, 500);
  EXPECT_GT(reused, 5000);
  EXPECT_GT(engine_->preemptions(), 10u);
  EXPECT_GT(engine_->cache_stats().evicted_blocks, 500u);
}

TEST_F(PrefixTest, ACancelledAnswerKeepsWhatWasComputed) {
  start({.context = 1000, .max_rows = 32});
  ask(last_with(3, 10), 1);
  Request request;
  request.prompt = last_with(3, 200, 5);
  const RequestId id = engine_->submit(request).value();
  std::vector<Event> events;
  for (int i = 0; i < 3; ++i) engine_->step(events);
  EXPECT_TRUE(engine_->cancel(id));
  last_ = request.prompt;
  EXPECT_EQ(ask(last_with(last_.size(), 5), 3).reused_tokens, 3 + 2 * 32);  // the third step was in flight
}

TEST_F(PrefixTest, AnObserverOfEarlierPositionsHasThemComputedAgain) {
  start({.context = 500, .max_rows = 32});
  ask(last_with(3, 60), 1);
  Request request;
  request.prompt = last_;
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
