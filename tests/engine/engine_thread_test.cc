#include "engine/engine_thread.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <thread>

#include "engine/fake_backend.h"

namespace carat {
namespace {

// Collects what is published, and lets a test wait for it.
class Listener {
 public:
  EngineThread::Publish publish() {
    return [this](std::vector<WorkEvent> events) {
      const std::lock_guard lock(mutex_);
      for (WorkEvent& event : events) {
        if (event.event.finish != FinishReason::kNone) order_.push_back(event.id);
        events_[event.id].push_back(std::move(event));
      }
      changed_.notify_all();
    };
  }
  // The events of this work, once the last one is there.
  std::vector<WorkEvent> all_of(WorkId id) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !events_[id].empty() && events_[id].back().event.finish != FinishReason::kNone; });
    return events_[id];
  }
  void wait_for_first_of(WorkId id) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !events_[id].empty(); });
  }
  std::vector<WorkId> order() {
    const std::lock_guard lock(mutex_);
    return order_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<WorkId, std::vector<WorkEvent>> events_;
  std::vector<WorkId> order_;  // in which they ended
};

class EngineThreadTest : public testing::Test {
 protected:
  void start(int32_t max_sequences, int32_t max_waiting = 100) {
    EngineOptions options;
    options.context = 2000;
    options.max_sequences = max_sequences;
    // An answer without an end takes a second, so that a test on a busy machine comes in time to cancel it.
    backend_.fails = [](size_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(500));
      return false;
    };
    engine_ = std::move(Engine::create(backend_, config_, options).value());
    thread_ = std::make_unique<EngineThread>(*engine_, max_waiting, listener_.publish());
  }
  Work work(WorkId id, std::vector<int32_t> prompt, int32_t tokens, std::string client = "a", int32_t priority = 0) {
    Work made;
    made.id = id;
    made.request.prompt = std::move(prompt);
    made.request.sampling.temperature = 0;
    made.request.sampling.max_tokens = tokens;
    made.request.sampling.ignore_eos = true;
    made.client = std::move(client);
    made.priority = priority;
    return made;
  }
  static std::vector<int32_t> tokens(const std::vector<WorkEvent>& events) {
    std::vector<int32_t> all;
    for (const WorkEvent& event : events) {
      if (event.event.token >= 0) all.push_back(event.event.token);
    }
    return all;
  }

  ModelConfig config_ = tiny_config();
  FakeBackend backend_{config_};
  std::unique_ptr<Engine> engine_;
  Listener listener_;
  std::unique_ptr<EngineThread> thread_;
};

TEST_F(EngineThreadTest, AnswersAsTheEngineDoes) {
  start(4);
  for (WorkId id = 1; id <= 10; ++id) {
    ASSERT_TRUE(thread_->submit(work(id, {2, static_cast<int32_t>(id) + 3}, 8)));
  }
  std::vector<std::vector<int32_t>> together;
  for (WorkId id = 1; id <= 10; ++id) together.push_back(tokens(listener_.all_of(id)));
  for (WorkId id = 11; id <= 20; ++id) {
    ASSERT_TRUE(thread_->submit(work(id, {2, static_cast<int32_t>(id) - 7}, 8)));
    EXPECT_EQ(tokens(listener_.all_of(id)), together[id - 11]);
    EXPECT_EQ(together[id - 11].size(), 8u);
  }
}

TEST_F(EngineThreadTest, RefusedWorkEndsWithItsError) {
  start(1);
  ASSERT_TRUE(thread_->submit(work(1, {2, 1000000}, 8)));
  const auto events = listener_.all_of(1);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].event.finish, FinishReason::kError);
  ASSERT_TRUE(events[0].event.error);
  EXPECT_EQ(events[0].event.error->code, ErrorCode::kInvalidArgument);
}

TEST_F(EngineThreadTest, CancelsWhatRunsAndWhatWaits) {
  start(1);
  ASSERT_TRUE(thread_->submit(work(1, {2, 5}, -1)));
  ASSERT_TRUE(thread_->submit(work(2, {2, 6}, 4)));
  ASSERT_TRUE(thread_->submit(work(3, {2, 7}, 4)));
  listener_.wait_for_first_of(1);
  thread_->cancel(3);
  EXPECT_EQ(listener_.all_of(3).back().event.finish, FinishReason::kCancelled);
  thread_->cancel(1);
  EXPECT_EQ(listener_.all_of(1).back().event.finish, FinishReason::kCancelled);
  EXPECT_EQ(listener_.all_of(2).back().event.finish, FinishReason::kLength);
  thread_->cancel(2);  // too late: nothing happens
  thread_->cancel(99);
}

TEST_F(EngineThreadTest, AFullQueueSaysSo) {
  start(1, 2);
  ASSERT_TRUE(thread_->submit(work(1, {2, 5}, -1)));
  listener_.wait_for_first_of(1);
  EXPECT_TRUE(thread_->submit(work(2, {2, 6}, 1)));
  EXPECT_TRUE(thread_->submit(work(3, {2, 6}, 1)));
  EXPECT_FALSE(thread_->submit(work(4, {2, 6}, 1)));
  EXPECT_EQ(thread_->load().waiting, 2);
  thread_->cancel(1);
  listener_.all_of(3);
  EXPECT_TRUE(thread_->submit(work(5, {2, 6}, 1)));
}

TEST_F(EngineThreadTest, PriorityThenFairnessThenOrder) {
  start(1);
  ASSERT_TRUE(thread_->submit(work(1, {2, 5}, -1, "busy")));
  listener_.wait_for_first_of(1);
  ASSERT_TRUE(thread_->submit(work(2, {2, 6}, 2, "a")));
  ASSERT_TRUE(thread_->submit(work(3, {2, 6}, 2, "a")));
  ASSERT_TRUE(thread_->submit(work(4, {2, 6}, 2, "b", -1)));
  ASSERT_TRUE(thread_->submit(work(5, {2, 6}, 2, "c", 1)));
  thread_->cancel(1);
  listener_.all_of(5);
  EXPECT_EQ(listener_.order(), (std::vector<WorkId>{1, 4, 2, 3, 5}));
}

TEST_F(EngineThreadTest, WhoHasLeastRunningGoesFirst) {
  start(2);
  ASSERT_TRUE(thread_->submit(work(1, {2, 5}, -1, "a")));
  ASSERT_TRUE(thread_->submit(work(2, {2, 5}, -1, "b")));
  listener_.wait_for_first_of(1);
  listener_.wait_for_first_of(2);
  ASSERT_TRUE(thread_->submit(work(3, {2, 6}, 300, "a")));
  ASSERT_TRUE(thread_->submit(work(4, {2, 6}, 2, "b")));
  thread_->cancel(2);  // b has none running now, a has one
  EXPECT_EQ(listener_.all_of(4).back().event.finish, FinishReason::kLength);
  EXPECT_EQ(listener_.order(), (std::vector<WorkId>{2, 4}));
  thread_->cancel(1);
  thread_->cancel(3);
}

TEST_F(EngineThreadTest, EndsWithWorkInProgress) {
  start(2);
  for (WorkId id = 1; id <= 5; ++id) ASSERT_TRUE(thread_->submit(work(id, {2, 5}, -1)));
  listener_.wait_for_first_of(1);
  thread_.reset();
  for (WorkId id = 1; id <= 5; ++id) EXPECT_EQ(listener_.all_of(id).back().event.finish, FinishReason::kCancelled);
}

}  // namespace
}  // namespace carat
