// How many workers of a team take part in its next run: all of them, unless other processes have taken cores. A worker
// without one holds all others up at the next barrier, so that one worker less is faster. Now and then one of those left
// out looks whether there is a core for it: a step with a worker too many takes as long as three without.
#pragma once

#include <algorithm>
#include <chrono>

namespace carat {

class TeamSize {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr double kHeldUp = 1.0 / 3;                   // part of the time that workers waited
  static constexpr int kRuns = 2;                              // as many such runs in a row are no accident
  static constexpr std::chrono::milliseconds kTelling{1};      // a shorter run that went well proves nothing
  static constexpr std::chrono::milliseconds kShortRest{250};  // with one less, before somebody looks
  static constexpr std::chrono::milliseconds kLongRest{
      1000};  // what that grows to, doubling each time that it was in vain

  explicit TeamSize(int workers) : workers_(workers) {}

  int choose(Clock::time_point now) {
    if (now > look_at_ + kLongRest) resting_ = false;  // nothing ran meanwhile: what was known is old
    return resting_ ? less_ : workers_;
  }

  // Whether it is time to look; then looked() says what was found.
  bool wants_look(Clock::time_point now) const { return resting_ && now >= look_at_; }
  void looked(bool taken, Clock::time_point now) {
    if (taken) {
      rest_longer(now);
    } else {
      resting_ = false;
    }
  }

  // What a run of `active` workers was like: each but the last waited for the others, together for `waited`. A wait says
  // nothing by itself, for of little work there may be none for somebody; `taken`: a worker's core was taken from it.
  void look_back(int active, Clock::duration took, Clock::duration waited, bool taken, Clock::time_point now) {
    if (active == 1) return;
    if (!taken || waited < took * (active - 1) * kHeldUp) {
      if (took < kTelling) return;  // drawing a token between two steps is over before a core is missed
      held_up_ = 0;
      if (active == workers_) rest_ = {};
      return;
    }
    if (++held_up_ < kRuns && rest_ == Clock::duration{}) return;
    held_up_ = 0;
    less_ = active - 1;
    rest_longer(now);
  }

 private:
  void rest_longer(Clock::time_point now) {
    resting_ = true;
    rest_ = rest_ == Clock::duration{} ? Clock::duration(kShortRest) : std::min<Clock::duration>(2 * rest_, kLongRest);
    look_at_ = now + rest_;
  }

  int workers_, less_ = 1, held_up_ = 0;
  Clock::duration rest_{};
  bool resting_ = false;
  Clock::time_point look_at_;
};

}  // namespace carat
