// A pull on standard error: on a terminal a line for each blob that redraws itself, with bytes, rate and time left;
// elsewhere nothing, for a script wants errors only, or JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "cli/interrupt.h"
#include "store/pull/observer.h"

namespace carat::cli {

// "pulling a5fd3b62230a:  45% [bar] 107 MB/238 MB   65 MB/s   2s", at most `columns` wide; the bar takes what is left.
// bytes_per_second 0: not known yet.
std::string progress_line(std::string_view what, uint64_t done_bytes, uint64_t total_bytes, uint64_t bytes_per_second,
                          size_t columns, std::string_view verb = "pulling");

class Progress : public PullObserver {
 public:
  explicit Progress(std::string verb = "pulling");
  ~Progress() override;

  void on_status(std::string_view text) override;
  void on_progress(std::string_view what, uint64_t done_bytes, uint64_t total_bytes) override;
  bool cancelled() override { return InterruptGuard::interrupted(); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Sample {
    Clock::time_point time;
    uint64_t done_bytes;
  };

  uint64_t bytes_per_second() const;
  void end_line();

  const std::string verb_;
  const bool on_terminal_;
  bool line_open_ = false;
  std::string what_;            // that the open line is about
  std::deque<Sample> samples_;  // of the last seconds, for the rate
  InterruptGuard interrupts_;
};

// The same for scripts: one JSON object a line on standard output, as Ollama's /api/pull streams them.
class JsonProgress : public PullObserver {
 public:
  explicit JsonProgress(std::string verb = "pulling") : verb_(std::move(verb)) {}
  void on_status(std::string_view text) override;
  void on_progress(std::string_view what, uint64_t done_bytes, uint64_t total_bytes) override;
  bool cancelled() override { return InterruptGuard::interrupted(); }

 private:
  const std::string verb_;
  std::chrono::steady_clock::time_point last_;
  std::string what_;
  InterruptGuard interrupts_;
};

}  // namespace carat::cli
