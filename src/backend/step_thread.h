// Steps computed one after the other on a thread of their own, so that whoever submits can plan the next one
// meanwhile. At most two are in flight: they use the two halves (ticket % 2) of whatever a backend keeps for a step.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "base/result.h"

namespace carat {

class StepThread {
 public:
  // run(half): computes the step that was put into that half. Called on the thread, in order.
  explicit StepThread(std::function<Status(int half)> run) : run_(std::move(run)) {}
  ~StepThread();
  StepThread(const StepThread&) = delete;
  StepThread& operator=(const StepThread&) = delete;

  // The half that the next submit() will use. There must be room: fewer than two in flight.
  int next_half() const { return static_cast<int>(submitted_ % 2); }
  // Errors: kOutOfMemory where no thread can be started.
  Result<uint64_t> submit();
  // The outcome of that step, once it has been computed. `patience` is asked now and then whether it is still worth
  // waiting, with the seconds waited so far: at an error of its the thread, which may never come back, is given up, and that
  // error is the outcome of every step from then on. What the thread uses must then stay for ever.
  using Patience = std::function<Status(double seconds)>;
  Status wait(uint64_t ticket, const Patience& patience = {});
  bool given_up() const { return given_up_; }
  // In run(): whether the step after it has been submitted.
  bool next_is_submitted() {
    const std::lock_guard lock(mutex_);
    return submitted_ > computed_ + 1;
  }
  bool idle() const { return submitted_ == waited_; }

 private:
  Status start();
  Status computed(int half);
  void loop();

  std::function<Status(int)> run_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t submitted_ = 0, computed_ = 0, waited_ = 0;
  Status outcomes_[2];
  bool stopping_ = false, given_up_ = false;
};

}  // namespace carat
