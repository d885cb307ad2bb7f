// A team of workers that runs one function together and meets at barriers in between: one fork per step, not per
// operation. Work inside a stage is claimed from a shared counter, so a slow core delays nobody; results never depend
// on who computed them.
//
// Where other processes take cores, fewer workers take part (team_size.h).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/team_size.h"
#include "base/wanted.h"

namespace carat {

// Hands out the items of one stage. Reset by one worker between two barriers.
struct alignas(64) WorkCounter {
  std::atomic<int64_t> next{0};
};

class Team {
 public:
  // The thread that calls run() is worker 0; `workers` - 1 threads are started, and stay on the hardware threads `on`
  // (empty: on any; machine.h). Error: kOutOfMemory where the system gives no more threads; those that had started have
  // ended then.
  static Result<std::unique_ptr<Team>> create(int workers, std::vector<int> on = {});
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int workers() const { return workers_; }

  // Calls body(argument, worker) on every worker that takes part, 0 always, and returns when all have returned.
  void run(void (*body)(void* argument, int worker), void* argument);

  // Has all take part from now on, whatever it costs: to measure what the machine can do.
  void insist() { insists_ = true; }

  // How many take part now.
  int active() const { return active_; }

  // Every worker of a running body waits here for the others; what they wrote before is visible after. The last one to
  // arrive runs `last` before anybody goes on: a little work between two stages without a barrier of its own. The others
  // ask the memory for what they want next meanwhile.
  void barrier(void (*last)(void* argument) = nullptr, void* argument = nullptr, Wanted wanted = {});

  // Claims the next `chunk` of `count` items: the begin of the claimed range, or `count` when nothing is left.
  // The counter is one of two used in turn by stage number; next_stage() moves every worker on.
  int64_t claim(int64_t stage, int64_t chunk, int64_t count) {
    auto& next = counters_[stage & 1].next;
    const int64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
    return begin < count ? begin : count;
  }

  // A barrier that also makes the counter of stage + 1 ready. Returns stage + 1.
  int64_t next_stage(int64_t stage, void (*last)(void* argument) = nullptr, void* argument = nullptr,
                     const Wanted& wanted = {});

 private:
  Team(int workers, std::vector<int> on) : workers_(workers < 1 ? 1 : workers), on_(std::move(on)), size_(workers_) {}
  void worker_loop(int worker);
  void take_part(int worker);
  void choose_active(TeamSize::Clock::time_point now);
  void look_for_a_core();
  template <class Ready>
  void wait_until(Ready ready, Wanted wanted = {});

  const int workers_;
  const std::vector<int> on_;
  WorkCounter counters_[2];
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<uint64_t> epoch_{0};  // a new body to run: its number << 32 | how many take part
  alignas(64) std::atomic<int> running_{0};     // workers still inside the body
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false};
  void (*body_)(void*, int) = nullptr;
  void* argument_ = nullptr;
  int active_ = 1;                  // of the last run; worker 0's to write
  std::atomic<int64_t> waited_{0};  // ns that workers of this run waited longer than a barrier takes
  std::atomic<int64_t> taken_{0};   // how often one of them lost its core to somebody else meanwhile
  TeamSize size_;                   // worker 0's
  enum class Look { kNone, kWanted, kTaken, kFree };
  std::atomic<Look> look_{Look::kNone};  // what worker 0 wants of the first of those left out, and what that found
  bool insists_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> threads_;
};

}  // namespace carat
