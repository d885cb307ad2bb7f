// Whoever started a pull, from the pull's point of view: a progress bar, a server's stream, a test.
#pragma once

#include <cstdint>
#include <string_view>

namespace carat {

class PullObserver {
 public:
  virtual ~PullObserver() = default;
  virtual void on_status(std::string_view text) = 0;  // "verifying sha256 digest", "writing manifest", "success"
  // `what` is being fetched; the same `what` again and again until done_bytes == total_bytes.
  virtual void on_progress(std::string_view what, uint64_t done_bytes, uint64_t total_bytes) = 0;
  virtual bool cancelled() = 0;  // asked ten times a second: true ends the pull with kCancelled
};

}  // namespace carat
