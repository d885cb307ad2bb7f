#include "base/threads.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <time.h>

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

// How often this thread had to leave its core to another one.
int64_t times_taken() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

// What this thread has run on a core.
std::chrono::nanoseconds processor_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
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
    epoch_.store(((epoch_.load() >> 32) + 1) << 32 | static_cast<uint64_t>(workers_));
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

// Spins for as long as a barrier takes; longer, and the processor is offered to others while the time is counted.
template <class Ready>
void Team::wait_until(Ready ready, Wanted wanted) {
  for (int spins = 0; spins < kSpinsBeforeYield; ++spins) {
    if (ready()) return;
    if (!wanted.ask()) pause_briefly();
  }
  const auto start = TeamSize::Clock::now();
  while (!ready()) std::this_thread::yield();
  waited_.fetch_add(std::chrono::nanoseconds(TeamSize::Clock::now() - start).count(), std::memory_order_relaxed);
}

// How many take part in the next run. Whoever is left out is asked to look when it is time, and answers later.
void Team::choose_active(TeamSize::Clock::time_point now) {
  const Look look = look_.load();
  if (look == Look::kTaken || look == Look::kFree) {
    size_.looked(look == Look::kTaken, now);
    look_.store(Look::kNone);
  } else if (look == Look::kNone && size_.wants_look(now)) {
    const std::lock_guard lock(mutex_);
    look_.store(Look::kWanted);
    wake_.notify_all();
  }
  active_ = insists_ ? workers_ : size_.choose(now);
}

// Whether this thread is given a core, three quarters of one at least: it takes what it gets for some slices of the
// scheduler's time. Beside a process that wants all of it, that is half.
void Team::look_for_a_core() {
  constexpr std::chrono::milliseconds kLook{10};
  const auto before = processor_time();
  const auto start = TeamSize::Clock::now();
  while (TeamSize::Clock::now() - start < kLook) pause_briefly();
  const auto took = TeamSize::Clock::now() - start;
  look_.store(processor_time() - before < took * 3 / 4 ? Look::kTaken : Look::kFree);
}

void Team::run(void (*body)(void*, int), void* argument) {
  const auto start = TeamSize::Clock::now();
  choose_active(start);
  waited_.store(0, std::memory_order_relaxed);
  taken_.store(0, std::memory_order_relaxed);
  body_ = body;
  argument_ = argument;
  counters_[0].next.store(0, std::memory_order_relaxed);
  counters_[1].next.store(0, std::memory_order_relaxed);
  running_.store(active_ - 1, std::memory_order_relaxed);
  epoch_.store(((epoch_.load() >> 32) + 1) << 32 | static_cast<uint64_t>(active_));
  if (active_ > 1 && sleeping_.load() != 0) {
    const std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  take_part(0);
  wait_until([this] { return running_.load(std::memory_order_acquire) == 0; });
  const auto end = TeamSize::Clock::now();
  size_.look_back(active_, end - start, std::chrono::nanoseconds(waited_.load()), taken_.load() != 0, end);
}

void Team::take_part(int worker) {
  const int64_t before = times_taken();
  body_(argument_, worker);
  if (const int64_t more = times_taken() - before; more != 0) taken_.fetch_add(more, std::memory_order_relaxed);
}

void Team::worker_loop(int worker) {
  stay_on(on_);
  uint64_t seen = 0;
  // Who takes part in a run is waited for by it, so none of those can be missed; others may.
  const auto mine = [&] {
    const uint64_t epoch = epoch_.load();
    return epoch != seen && static_cast<int>(epoch & 0xffffffffu) > worker;
  };
  for (;;) {
    for (int spins = 0; !mine(); ++spins) {
      const bool left_out = epoch_.load() != seen;
      if (spins < kSpinsBeforeSleep && !left_out) {
        pause_briefly();
        continue;
      }
      const auto to_look = [&] {
        return look_.load() == Look::kWanted && static_cast<int>(epoch_.load() & 0xffffffffu) == worker;
      };
      {
        std::unique_lock lock(mutex_);
        sleeping_.fetch_add(1);
        wake_.wait(lock, [&] { return mine() || to_look(); });
        sleeping_.fetch_sub(1);
      }
      if (!mine() && to_look()) look_for_a_core();
    }
    seen = epoch_.load();
    if (stopping_.load()) return;
    take_part(worker);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

void Team::barrier(void (*last)(void*), void* argument, Wanted wanted) {
  const uint32_t generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == active_ - 1) {
    if (last != nullptr) last(argument);
    arrived_.store(0, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    return;
  }
  wait_until([&] { return generation_.load(std::memory_order_acquire) != generation; }, wanted);
}

int64_t Team::next_stage(int64_t stage, void (*last)(void*), void* argument, const Wanted& wanted) {
  // Everybody who still claims from this stage's counter has seen it run out before arriving here; the counter of the
  // next stage was last used a stage ago, so whoever arrives may reset it, before the barrier releases anyone.
  counters_[(stage + 1) & 1].next.store(0, std::memory_order_relaxed);
  barrier(last, argument, wanted);
  return stage + 1;
}

}  // namespace carat
