// SHA-256 of large amounts beside whoever reads or receives them: a thread takes whole buffers in their order, and gives
// them back to be filled again. Hashing costs as much as receiving and writing together, so with two cores a pull takes
// half the time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "store/digest.h"

namespace carat {

class HashThread {
 public:
  HashThread();
  ~HashThread();
  HashThread(const HashThread&) = delete;
  HashThread& operator=(const HashThread&) = delete;

  // Here, after what was handed over before.
  void update(std::span<const std::byte> bytes);
  // By the thread; waits while kQueued buffers wait already. Where no thread can be had, it is done here.
  void hand_over(std::vector<std::byte> buffer);
  // An empty vector, with the memory of one that was handed over if there is any.
  std::vector<std::byte> spare();
  Digest finish();

 private:
  static constexpr size_t kQueued = 2;

  bool start();
  void work();
  void wait();

  Sha256 hash_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::vector<std::byte>> waiting_;
  std::vector<std::vector<std::byte>> spare_;
  bool working_ = false, stopping_ = false;
  std::thread thread_;  // once there is something for it
};

}  // namespace carat
