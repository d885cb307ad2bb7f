#include "store/hash_thread.h"

#include <system_error>

namespace carat {

HashThread::HashThread() { spare_.reserve(kQueued + 1); }

HashThread::~HashThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool HashThread::start() {
  if (thread_.joinable()) return true;
  try {
    thread_ = std::thread([this] { work(); });
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

void HashThread::update(std::span<const std::byte> bytes) {
  wait();
  hash_.update(bytes);
}

void HashThread::hand_over(std::vector<std::byte> buffer) {
  if (!start()) {
    hash_.update(buffer);
    buffer.clear();
    if (spare_.empty()) spare_.push_back(std::move(buffer));
    return;
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_.size() < kQueued; });
  waiting_.push_back(std::move(buffer));
  changed_.notify_all();
}

std::vector<std::byte> HashThread::spare() {
  const std::lock_guard lock(mutex_);
  if (spare_.empty()) return {};
  std::vector<std::byte> buffer = std::move(spare_.back());
  spare_.pop_back();
  return buffer;
}

Digest HashThread::finish() {
  wait();
  return hash_.finish();
}

void HashThread::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_.empty() && !working_; });
}

void HashThread::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    std::vector<std::byte> buffer = std::move(waiting_.front());
    waiting_.pop_front();
    working_ = true;
    lock.unlock();
    changed_.notify_all();
    hash_.update(buffer);
    buffer.clear();
    lock.lock();
    working_ = false;
    if (spare_.size() < kQueued) spare_.push_back(std::move(buffer));
    changed_.notify_all();
  }
}

}  // namespace carat
