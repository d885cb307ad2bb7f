// Counters in Prometheus's text format, under the names that vLLM's dashboards read, and Carat's own. Written by the
// network thread alone (so without locks); read there too.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "server/generation.h"

namespace carat::server {

class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void observe(double value);
  void write(std::string& out, std::string_view name, std::string_view labels) const;

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;
  double sum_ = 0;
};

// A moment's figures that nobody counts up.
struct Gauges {
  int32_t running = 0, waiting = 0, models = 0;
  double kv_usage = 0;  // 0 to 1
  uint64_t steps = 0, preemptions = 0;
  size_t connections = 0;
  uint64_t resident_bytes = 0;
};

class Metrics {
 public:
  void token_gap(double seconds);
  void request_ended(const GenerationEnd& end, double first_token_seconds, double seconds);
  void http_answered(int status) { ++http_answers_[status]; }
  void client_left() { ++clients_left_; }

  std::string text(std::string_view model_name, const Gauges& gauges) const;

 private:
  static std::vector<double> seconds_bounds();
  static std::vector<double> token_bounds();

  uint64_t prompt_tokens_ = 0, cached_tokens_ = 0, generated_tokens_ = 0;
  std::map<std::string, uint64_t> finished_;
  std::map<int, uint64_t> http_answers_;
  uint64_t clients_left_ = 0;
  Histogram first_token_{seconds_bounds()}, gap_{seconds_bounds()}, per_token_{seconds_bounds()};
  Histogram total_{seconds_bounds()}, queue_{seconds_bounds()}, prefill_{seconds_bounds()}, decode_{seconds_bounds()};
  Histogram inference_{seconds_bounds()};
  Histogram prompt_size_{token_bounds()}, answer_size_{token_bounds()};
};

// "stop", "length", "abort", "error": what vLLM calls them.
const char* finish_name(FinishReason reason);

}  // namespace carat::server
