#include "server/metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace carat::server {
namespace {

void head(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

}  // namespace

const char* finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "abort";
    case FinishReason::kError:
      return "error";
    case FinishReason::kNone:
      break;
  }
  return "";
}

std::vector<double> Metrics::seconds_bounds() {
  return {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
          1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
}
std::vector<double> Metrics::token_bounds() {
  return {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
}

void Histogram::observe(double value) {
  ++counts_[static_cast<size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin())];
  sum_ += value;
}

void Histogram::write(std::string& out, std::string_view name, std::string_view labels) const {
  uint64_t sum = 0;
  for (size_t i = 0; i < bounds_.size(); ++i) {
    sum += counts_[i];
    out += fmt::format("{}_bucket{{{},le=\"{}\"}} {}\n", name, labels, bounds_[i], sum);
  }
  sum += counts_.back();
  out += fmt::format("{0}_bucket{{{1},le=\"+Inf\"}} {2}\n{0}_count{{{1}}} {2}\n{0}_sum{{{1}}} {3}\n", name, labels, sum,
                     sum_);
}

void Metrics::token_gap(double seconds) { gap_.observe(seconds); }

void Metrics::request_ended(const GenerationEnd& end, double first_token_seconds, double seconds) {
  const Usage& usage = end.usage;
  prompt_tokens_ += static_cast<uint64_t>(usage.prompt_tokens);
  cached_tokens_ += static_cast<uint64_t>(usage.reused_tokens);
  generated_tokens_ += static_cast<uint64_t>(usage.generated_tokens);
  ++finished_[finish_name(end.finish)];
  total_.observe(seconds);
  queue_.observe(end.queue_seconds);
  prefill_.observe(usage.prompt_seconds);
  decode_.observe(usage.generate_seconds);
  inference_.observe(usage.prompt_seconds + usage.generate_seconds);
  prompt_size_.observe(usage.prompt_tokens);
  answer_size_.observe(usage.generated_tokens);
  if (first_token_seconds >= 0) first_token_.observe(first_token_seconds);
  if (usage.generated_tokens > 1) per_token_.observe(usage.generate_seconds / (usage.generated_tokens - 1));
}

std::string Metrics::text(std::string_view model_name, const Gauges& gauges) const {
  std::string out;
  const std::string labels = fmt::format("engine=\"0\",model_name=\"{}\"", model_name);
  const auto gauge = [&](std::string_view name, std::string_view help, double value) {
    head(out, name, "gauge", help);
    out += fmt::format("{}{{{}}} {}\n", name, labels, value);
  };
  const auto counter = [&](std::string_view name, std::string_view help, uint64_t value) {
    head(out, name, "counter", help);
    out += fmt::format("{}{{{}}} {}\n", name, labels, value);
  };
  const auto histogram = [&](std::string_view name, std::string_view help, const Histogram& h) {
    head(out, name, "histogram", help);
    h.write(out, name, labels);
  };
  gauge("vllm:num_requests_running", "Requests in the batch.", gauges.running);
  gauge("vllm:num_requests_waiting", "Requests that wait for a place in the batch.", gauges.waiting);
  gauge("vllm:kv_cache_usage_perc", "Part of the KV cache in use, 0 to 1.", gauges.kv_usage);
  counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.", prompt_tokens_);
  counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", cached_tokens_);
  counter("vllm:num_preemptions_total", "Requests that gave up their place for others.", gauges.preemptions);
  counter("vllm:prompt_tokens_total", "Prompt tokens.", prompt_tokens_);
  counter("vllm:prompt_tokens_cached_total", "Prompt tokens that were not computed again.", cached_tokens_);
  counter("vllm:generation_tokens_total", "Generated tokens.", generated_tokens_);
  head(out, "vllm:request_success_total", "counter", "Requests by how they ended.");
  for (const char* reason : {"stop", "length", "abort", "error"}) {
    const auto it = finished_.find(reason);
    out += fmt::format("vllm:request_success_total{{{},finished_reason=\"{}\"}} {}\n", labels, reason,
                       it == finished_.end() ? 0 : it->second);
  }
  histogram("vllm:request_prompt_tokens", "Tokens of a prompt.", prompt_size_);
  histogram("vllm:request_generation_tokens", "Tokens of an answer.", answer_size_);
  histogram("vllm:time_to_first_token_seconds", "From a request's start to its first token.", first_token_);
  histogram("vllm:inter_token_latency_seconds", "Between two tokens of an answer.", gap_);
  histogram("vllm:request_time_per_output_token_seconds", "An answer's time per token after the first.", per_token_);
  histogram("vllm:e2e_request_latency_seconds", "From a request's start to its end.", total_);
  histogram("vllm:request_queue_time_seconds", "Waiting for a place in the batch.", queue_);
  histogram("vllm:request_inference_time_seconds", "From a place in the batch to the end.", inference_);
  histogram("vllm:request_prefill_time_seconds", "From a place in the batch to the first token.", prefill_);
  histogram("vllm:request_decode_time_seconds", "From the first token to the last.", decode_);
  head(out, "carat:http_answers_total", "counter", "Answers by HTTP status.");
  for (const auto& [status, count] : http_answers_) {
    out += fmt::format("carat:http_answers_total{{status=\"{}\"}} {}\n", status, count);
  }
  head(out, "carat:clients_left_total", "counter", "Clients that went away before their answer was over.");
  out += fmt::format("carat:clients_left_total {}\n", clients_left_);
  head(out, "carat:engine_steps_total", "counter", "Steps of the engine.");
  out += fmt::format("carat:engine_steps_total {}\n", gauges.steps);
  head(out, "carat:connections", "gauge", "Open connections.");
  out += fmt::format("carat:connections {}\n", gauges.connections);
  head(out, "carat:models_loaded", "gauge", "Models in memory.");
  out += fmt::format("carat:models_loaded {}\n", gauges.models);
  head(out, "process_resident_memory_bytes", "gauge", "Resident memory.");
  out += fmt::format("process_resident_memory_bytes {}\n", gauges.resident_bytes);
  return out;
}

}  // namespace carat::server
