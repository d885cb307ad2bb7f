// The rate is that of the last five seconds: a mean since the start would lie after a stall.
#include "cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/printable.h"
#include "chat/human.h"
#include "cli/json_text.h"
#include "cli/output.h"

namespace carat::cli {
namespace {

constexpr auto kRateWindow = std::chrono::seconds(5);

size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// Twelve digits of a digest, as Ollama shows them.
std::string_view short_name(std::string_view what) {
  return what.substr(0, 7) == "sha256:" ? what.substr(7, 12) : what;
}

}  // namespace

std::string progress_line(std::string_view what, uint64_t done_bytes, uint64_t total_bytes, uint64_t bytes_per_second,
                          size_t columns, std::string_view verb) {
  const double part = total_bytes == 0 ? 1.0 : static_cast<double>(done_bytes) / static_cast<double>(total_bytes);
  const std::string head = fmt::format("{} {}: {:3.0f}% ", verb, what, part * 100);
  std::string tail = fmt::format(" {:>7}/{:<7}", chat::human_bytes(done_bytes), chat::human_bytes(total_bytes));
  if (bytes_per_second > 0) {
    tail += fmt::format(" {:>9}/s {:>6}", chat::human_bytes(bytes_per_second),
                        chat::human_seconds((total_bytes - std::min(done_bytes, total_bytes)) / bytes_per_second));
  }
  const size_t used = head.size() + tail.size() + 3;  // two ends of the bar, and the last column stays free
  if (used + 4 > columns) return (head + tail).substr(0, columns - 1);
  const size_t width = std::min<size_t>(columns - used, 60);
  const auto filled = static_cast<size_t>(part * static_cast<double>(width));
  std::string bar;
  for (size_t i = 0; i < width; ++i) bar += i < filled ? "█" : " ";
  return head + "▕" + bar + "▏" + tail;
}

Progress::Progress(std::string verb) : verb_(std::move(verb)), on_terminal_(error_is_terminal()) {}

Progress::~Progress() { end_line(); }

void Progress::end_line() {
  if (line_open_) draw_on_error("\n");
  line_open_ = false;
}

void Progress::on_status(std::string_view text) {
  end_line();
  samples_.clear();
  if (on_terminal_) note("{}\n", text);
}

uint64_t Progress::bytes_per_second() const {
  if (samples_.size() < 2) return 0;
  const std::chrono::duration<double> time = samples_.back().time - samples_.front().time;
  const uint64_t bytes = samples_.back().done_bytes - std::min(samples_.front().done_bytes, samples_.back().done_bytes);
  return time.count() < 0.5 ? 0 : static_cast<uint64_t>(static_cast<double>(bytes) / time.count());
}

void Progress::on_progress(std::string_view what, uint64_t done_bytes, uint64_t total_bytes) {
  if (!on_terminal_) return;
  if (what_ != what) {
    end_line();
    samples_.clear();
    what_ = what;
  }
  const auto now = Clock::now();
  const bool finished = done_bytes >= total_bytes;
  if (!finished && !samples_.empty() && now - samples_.back().time < std::chrono::milliseconds(80)) return;
  samples_.push_back({now, done_bytes});
  while (now - samples_.front().time > kRateWindow) samples_.pop_front();
  // Back to the first column, draw, and clear what a longer line left.
  const std::string line =
      progress_line(one_line(short_name(what)), done_bytes, total_bytes, bytes_per_second(), terminal_columns(), verb_);
  draw_on_error("\r" + line + "\x1b[K");
  line_open_ = true;
}

void JsonProgress::on_status(std::string_view text) {
  say("{}\n", json_text({{"status", text}}));
  flush();
}

void JsonProgress::on_progress(std::string_view what, uint64_t done_bytes, uint64_t total_bytes) {
  const auto now = std::chrono::steady_clock::now();
  if (what == what_ && done_bytes < total_bytes && now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  what_ = what;
  say("{}\n", json_text({{"status", fmt::format("{} {}", verb_, short_name(what))},
                         {"digest", what},
                         {"total", total_bytes},
                         {"completed", done_bytes}}));
  flush();
}

}  // namespace carat::cli
