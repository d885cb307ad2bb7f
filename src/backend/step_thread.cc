#include "backend/step_thread.h"

#include <fmt/format.h>

#include <chrono>
#include <new>
#include <system_error>

namespace carat {

StepThread::~StepThread() {
  CARAT_ASSERT(!given_up_);
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Status StepThread::start() {
  try {
    thread_ = std::thread([this] { loop(); });
  } catch (const std::system_error& error) {
    return Error{ErrorCode::kOutOfMemory, fmt::format("cannot start the thread that computes: {}", error.what())};
  }
  return {};
}

Result<uint64_t> StepThread::submit() {
  CARAT_ASSERT(submitted_ - waited_ < 2);
  if (given_up_) return Error(outcomes_[0].error());
  if (!thread_.joinable()) CARAT_CHECK(start());
  uint64_t ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    ticket = submitted_++;
  }
  changed_.notify_all();
  return ticket;
}

Status StepThread::wait(uint64_t ticket, const Patience& patience) {
  constexpr std::chrono::milliseconds kLook{100};
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  CARAT_ASSERT(ticket == waited_ && ticket < submitted_);
  const auto is_computed = [&] { return computed_ > ticket; };
  while (!given_up_) {
    if (!patience) {
      changed_.wait(lock, is_computed);
      break;
    }
    if (changed_.wait_for(lock, kLook, is_computed)) break;
    Status worth = patience(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    if (worth.ok()) continue;
    given_up_ = true;
    outcomes_[0] = outcomes_[1] = std::move(worth);
  }
  ++waited_;
  return outcomes_[ticket % 2];
}

// What a step needs beyond its plan (many rows of logits, say) may be more than there is.
Status StepThread::computed(int half) {
  try {
    return run_(half);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::kOutOfMemory, "not enough memory to compute a step: ask for less at once"};
  }
}

void StepThread::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || computed_ < submitted_; });
    if (computed_ == submitted_) return;
    const auto half = static_cast<size_t>(computed_ % 2);
    lock.unlock();
    Status outcome = computed(static_cast<int>(half));
    lock.lock();
    if (given_up_) return;
    outcomes_[half] = std::move(outcome);
    ++computed_;
    changed_.notify_all();
  }
}

}  // namespace carat
