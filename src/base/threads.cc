#include "base/threads.h"

#include <fmt/format.h>

#include <system_error>

#include "base/machine.h"

namespace carat {
namespace {

// Spinning longer than this means that the other core is not ours right now: let the system run somebody else.
constexpr int kSpinsBeforeYield = 2000;
constexpr int kSpinsBeforeSleep = 200000;  // about 1 ms: the gap between two decode steps is far shorter

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Result<std::unique_ptr<Team>> Team::create(int workers, std::vector<int> on) {
  std::unique_ptr<Team> team(new Team(workers, std::move(on)));
  team->threads_.reserve(static_cast<size_t>(team->workers_));
  for (int worker = 1; worker < team->workers_; ++worker) {
    try {
      team->threads_.emplace_back([self = team.get(), worker] { self->worker_loop(worker); });
    } catch (const std::system_error& error) {
      return Error{ErrorCode::kOutOfMemory,
                   fmt::format("cannot start thread {} of {}: {}", worker + 1, team->workers_, error.code().message())};
    }
  }
  return team;
}

Team::~Team() {
  {
    const std::lock_guard lock(mutex_);
    stopping_.store(true);
    epoch_.fetch_add(1);
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void Team::run(void (*body)(void*, int), void* argument) {
  body_ = body;
  argument_ = argument;
  counters_[0].next.store(0, std::memory_order_relaxed);
  counters_[1].next.store(0, std::memory_order_relaxed);
  running_.store(workers_ - 1, std::memory_order_relaxed);
  epoch_.fetch_add(1);
  if (sleeping_.load() != 0) {
    const std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  body(argument, 0);
  for (int spins = 0; running_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpinsBeforeYield) {
      pause_briefly();
    } else {
      std::this_thread::yield();
    }
  }
}

void Team::worker_loop(int worker) {
  stay_on(on_);
  uint32_t seen = 0;
  for (;;) {
    int spins = 0;
    while (epoch_.load() == seen) {
      if (++spins < kSpinsBeforeSleep) {
        pause_briefly();
        continue;
      }
      std::unique_lock lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return epoch_.load() != seen; });
      sleeping_.fetch_sub(1);
    }
    ++seen;
    if (stopping_.load()) return;
    body_(argument_, worker);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

void Team::barrier(void (*last)(void*), void* argument) {
  const uint32_t generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == workers_ - 1) {
    if (last != nullptr) last(argument);
    arrived_.store(0, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    return;
  }
  for (int spins = 0; generation_.load(std::memory_order_acquire) == generation; ++spins) {
    if (spins < kSpinsBeforeYield) {
      pause_briefly();
    } else {
      std::this_thread::yield();
    }
  }
}

int64_t Team::next_stage(int64_t stage, void (*last)(void*), void* argument) {
  // Everybody who still claims from this stage's counter has seen it run out before arriving here; the counter of the
  // next stage was last used a stage ago, so whoever arrives may reset it, before the barrier releases anyone.
  counters_[(stage + 1) & 1].next.store(0, std::memory_order_relaxed);
  barrier(last, argument);
  return stage + 1;
}

}  // namespace carat
