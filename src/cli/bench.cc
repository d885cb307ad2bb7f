// carat bench MODEL: prefill and decode, in tokens a second and as a fraction of what the memory can deliver, which is
// measured between the repetitions. It drives the backend itself, greedily: draws and text are not part of the figure.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>

#include "base/json.h"
#include "base/topology.h"
#include "chat/memory_plan.h"
#include "chat/open_model.h"
#include "cli/bandwidth.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/json_text.h"
#include "cli/model_flags.h"
#include "cli/number_flag.h"
#include "cli/output.h"
#include "cli/report.h"
#include "engine/engine.h"

namespace carat::cli {
namespace {

struct BenchFlags {
  std::string model;
  std::vector<int32_t> prompts{512};  // prefill lengths; 0 leaves prefill out
  std::vector<int32_t> depths{0};     // tokens in the cache before what is measured
  int32_t generate = 64;
  int32_t repetitions = 5;
  bool stages = false;
  bool json = false;
  chat::LoadOptions loading;
};

struct Spread {
  double median = 0, least = 0, most = 0;
};

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

// One sequence fed straight to the backend.
class Sequence {
 public:
  Sequence(Backend& backend, const ModelConfig& config, const KvPlan& plan, int32_t chunk)
      : backend_(backend),
        chunk_(chunk),
        vocabulary_(config.vocabulary),
        global_(static_cast<size_t>(plan.global_pages)),
        local_(static_cast<size_t>(plan.local_pages)) {
    std::iota(global_.begin(), global_.end(), 0);
    std::iota(local_.begin(), local_.end(), 0);
    greedy_.temperature = 0;
  }

  void rewind(int32_t past) { past_ = past; }

  // Seconds to compute `count` tokens, at most `chunk` a step, and which is the most probable after the last one. As the engine does it,
  // a step is submitted while the one before it is computed.
  Result<double> feed(int32_t count, int32_t chunk) {
    const auto start = std::chrono::steady_clock::now();
    std::optional<Backend::Ticket> before;
    Status failed;
    int64_t number = 0;
    for (int32_t done = 0; done < count && failed.ok(); ++number) {
      const int32_t rows = std::min(chunk, count - done);
      InFlight& step = in_flight_[number % 2];
      step.rows.clear();
      for (int32_t i = 0; i < rows; ++i) step.rows.push_back({next_token(), past_ + i});
      step.seq = {0, rows, past_, global_, local_};
      step.best = {rows - 1, OutputKind::kSample, -1, {.params = &greedy_}};
      const bool wants_best = done + rows == count || chunk == 1;
      const auto ticket = backend_.submit({step.rows, {&step.seq, 1}, {&step.best, wants_best ? 1u : 0u}});
      if (!ticket.ok()) failed = ticket.error();
      if (before) failed = waited(*before, failed);
      before = ticket.ok() ? std::optional(*ticket) : std::nullopt;
      past_ += rows;
      done += rows;
    }
    if (before) failed = waited(*before, failed);
    CARAT_CHECK(failed);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  Result<double> prefill(int32_t count) { return feed(count, chunk_); }
  Result<double> decode(int32_t count) { return feed(count, 1); }

 private:
  struct InFlight {  // what a step's spans point to
    std::vector<Row> rows;
    SeqRows seq;
    Output best;
  };

  // The first of two failures.
  Status waited(Backend::Ticket ticket, const Status& before) {
    const auto result = backend_.wait(ticket);
    if (before.ok() && !result.ok()) return result.error();
    return before;
  }

  // Any tokens will do: the work does not depend on them.
  int32_t next_token() {
    random_ = random_ * 1664525u + 1013904223u;
    return static_cast<int32_t>((random_ >> 8) % static_cast<uint32_t>(vocabulary_));
  }

  Backend& backend_;
  int32_t chunk_, vocabulary_, past_ = 0;
  uint32_t random_ = 1;
  std::vector<int32_t> global_, local_;
  InFlight in_flight_[2];
  SamplingParams greedy_;
};

struct Measurement {
  std::string what;  // "prefill" or "decode"
  int32_t tokens = 0, depth = 0, repetitions = 0;
  Spread rate;            // tokens a second
  double bytes_rate = 0;  // of packed weights, at the median; decode only
  std::array<StageTime, kStageCount> stages{};

  double microseconds(int stage) const {  // of a token
    return stages[static_cast<size_t>(stage)].seconds * 1e6 / tokens / repetitions;
  }
  double bytes(int stage) const {  // of weights, that a token reads
    return static_cast<double>(stages[static_cast<size_t>(stage)].weight_bytes) / tokens / repetitions;
  }
};

nlohmann::ordered_json to_json(const Measurement& m, double bandwidth) {
  nlohmann::ordered_json out{{"test", m.what},      {"tokens", m.tokens},
                             {"depth", m.depth},    {m.what + "_tokens_per_second", m.rate.median},
                             {"min", m.rate.least}, {"max", m.rate.most}};
  if (m.what == "decode") {
    out["gigabytes_per_second"] = m.bytes_rate / 1e9;
    out["fraction_of_read_bandwidth"] = m.bytes_rate / bandwidth;
  }
  for (int i = 0; i < kStageCount; ++i) {
    const StageTime& stage = m.stages[static_cast<size_t>(i)];
    out["stages"][std::string(kStageNames[i])] = {{"seconds", stage.seconds},
                                                  {"weight_bytes", stage.weight_bytes},
                                                  {"microseconds_per_token", m.microseconds(i)}};
    if (m.what == "decode" && stage.weight_bytes > 0 && stage.seconds > 0) {
      const double rate = static_cast<double>(stage.weight_bytes) / stage.seconds;
      out["stages"][std::string(kStageNames[i])]["gigabytes_per_second"] = rate / 1e9;
      out["stages"][std::string(kStageNames[i])]["fraction_of_read_bandwidth"] = rate / bandwidth;
    }
  }
  return out;
}

// What the memory delivers that the backend computes in, measured again and again; the buffer for it is not counted as the
// model's memory.
struct Bandwidth {
  const BackendOptions& backend;
  std::unique_ptr<Team> team;  // null: it is a device's
  std::vector<double> values;
  uint64_t peak_resident = 0;  // of everything else

  Status measure(size_t bytes) {
    if (!team) {
      auto of_device = device_read_bandwidth(backend);
      CARAT_ASSERT(of_device.has_value());
      CARAT_TRY(const double value, std::move(*of_device));
      values.push_back(value);
      return {};
    }
    const uint64_t before = peak_resident_bytes();
    values.push_back(measure_read_bandwidth(*team, bytes));
    peak_resident = std::max(peak_resident, before);
    forget_peak_resident();
    return {};
  }
};

Result<Measurement> measure(const BenchFlags& flags, Backend& backend, Sequence& sequence, Bandwidth& bandwidth,
                            const std::string& what, int32_t tokens, int32_t depth) {
  sequence.rewind(0);
  if (depth > 0) {
    CARAT_TRY([[maybe_unused]] const double seconds, sequence.prefill(depth));
  }
  std::vector<double> rates;
  for (int32_t i = 0; i <= flags.repetitions; ++i) {
    sequence.rewind(depth);
    CARAT_TRY(const double seconds, what == "prefill" ? sequence.prefill(tokens) : sequence.decode(tokens));
    if (i == 0) {  // warm-up: first touch of buffers and clocks
      backend.stage_times();
      continue;
    }
    rates.push_back(tokens / seconds);
    if (what == "decode") CARAT_CHECK(bandwidth.measure(size_t{256} << 20));
  }
  Measurement m{what, tokens, depth, flags.repetitions, spread_of(rates), 0, backend.stage_times()};
  if (what == "decode") m.bytes_rate = m.rate.median * static_cast<double>(backend.info().decode_bytes);
  return m;
}

void print_row(const Measurement& m, double bandwidth, bool stages) {
  std::string line = fmt::format("{:<8} {:>6} tokens at depth {:>6}: {:>9.2f} tok/s  ({:.2f} to {:.2f})", m.what,
                                 m.tokens, m.depth, m.rate.median, m.rate.least, m.rate.most);
  if (m.what == "decode")
    line +=
        fmt::format("  {:.1f} GB/s, {:.0f}% of the read bandwidth", m.bytes_rate / 1e9, 100 * m.bytes_rate / bandwidth);
  say("{}\n", line);
  if (!stages) return;
  double total = 0;
  for (const StageTime& stage : m.stages) total += stage.seconds;
  for (int i = 0; i < kStageCount; ++i) {
    const StageTime& stage = m.stages[static_cast<size_t>(i)];
    std::string told = fmt::format("  {:<9} {:>5.1f}%  {:>8.1f} us a token", kStageNames[i],
                                   total > 0 ? 100 * stage.seconds / total : 0, m.microseconds(i));
    if (m.what == "decode" && stage.weight_bytes > 0 && stage.seconds > 0) {
      const double rate = static_cast<double>(stage.weight_bytes) / stage.seconds;
      told +=
          fmt::format("  {:>8.2f} MB  {:>7.1f} GB/s  {:>4.0f}%", m.bytes(i) / 1e6, rate / 1e9, 100 * rate / bandwidth);
    }
    say("{}\n", told);
  }
}

Status bench(const BenchFlags& flags) {
  CARAT_TRY(chat::OpenModel model, open_or_fetch(flags.model));
  const ModelConfig& config = model.file.config;
  int64_t context = 0;
  for (int32_t depth : flags.depths) {
    for (int32_t prompt : flags.prompts)
      context = std::max<int64_t>(context, int64_t{depth} + std::max(prompt, flags.generate));
  }
  if (context > config.context_length) {
    return Error{ErrorCode::kTooLong,
                 fmt::format("{} tokens are asked for; the model's context has {}", context, config.context_length)};
  }
  CARAT_TRY(const chat::MemoryBudget budget, chat::memory_budget(flags.loading.memory, flags.loading.backend));
  CARAT_TRY(
      const chat::StepRows rows,
      chat::plan_rows(usual_concurrency(flags.loading.backend), flags.loading.chunk, budget, [&](int32_t of_step) {
        return memory_need(flags.loading.backend, config, model.file.weights, of_step);
      }));
  const int32_t chunk = rows.most;
  EngineOptions sizes{.context = static_cast<int32_t>(context), .max_rows = chunk, .cache_pages = 1};
  CARAT_TRY([[maybe_unused]] const chat::MemoryPlan planned,
            chat::plan_memory(rows.need, config, sizes, sizes.context, budget));
  const auto load_start = std::chrono::steady_clock::now();
  CARAT_TRY(auto backend, create_backend(flags.loading.backend, config, model.file.weights));
  const double load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - load_start).count();
  const KvPlan plan = plan_kv(config, {static_cast<int32_t>(context), chunk, 1, 1, 0});
  CARAT_CHECK(backend->reserve_kv(plan));

  const BackendInfo info = backend->info();
  if (!info.note.empty()) note("note: {}\n", info.note);
  const bool device = !info.device.empty();
  Bandwidth bandwidths{flags.loading.backend, nullptr, {}};
  if (!device) {
    CARAT_TRY(bandwidths.team, Team::create(info.threads));
    bandwidths.team->insist();
  }
  CARAT_CHECK(bandwidths.measure(size_t{512} << 20));
  Sequence sequence(*backend, config, plan, chunk);
  std::vector<Measurement> measurements;
  for (int32_t depth : flags.depths) {
    for (int32_t prompt : flags.prompts) {
      if (prompt == 0) continue;
      CARAT_TRY(Measurement m, measure(flags, *backend, sequence, bandwidths, "prefill", prompt, depth));
      measurements.push_back(std::move(m));
    }
    if (flags.generate == 0) continue;
    CARAT_TRY(Measurement m, measure(flags, *backend, sequence, bandwidths, "decode", flags.generate, depth));
    measurements.push_back(std::move(m));
  }
  const double bandwidth = spread_of(bandwidths.values).median;

  if (flags.json) {
    nlohmann::ordered_json out{{"model", flags.model},
                               {"quantisation", model.file.quantisation},
                               {"parameters", model.file.parameters},
                               {"backend", info.name},
                               {"precision", flags.loading.backend.precision == Precision::kFast ? "fast" : "exact"},
                               {device ? "multiprocessors" : "threads", info.threads},
                               {"weight_bytes", info.weight_bytes},
                               {"kv_bytes", info.kv_bytes},
                               {"bytes_per_decoded_token", info.decode_bytes},
                               {"load_seconds", load_seconds},
                               {"read_bandwidth", bandwidth},
                               {"peak_resident_bytes", std::max(bandwidths.peak_resident, peak_resident_bytes())}};
    if (device) out["device"] = info.device;
    for (const Measurement& m : measurements) {
      const nlohmann::ordered_json json = to_json(m, bandwidth);
      const std::string key = m.what + "_tokens_per_second";
      if (!out.contains(key)) out[key] = json[key];  // the first of each, for scripts that want one number
      out["results"].push_back(json);
    }
    say("{}\n", json_text(out, 2));
    return {};
  }
  say("{}: {}, {:.0f} MB of packed weights, loaded in {:.2f} s; {}; this memory reads {:.1f} GB/s\n", flags.model,
      model.file.quantisation, static_cast<double>(info.weight_bytes) / 1e6, load_seconds,
      where_it_runs(info, flags.loading.backend), bandwidth / 1e9);
  for (const Measurement& m : measurements) print_row(m, bandwidth, flags.stages || device);
  return {};
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* command = app.add_subcommand("bench", "Measure prefill and decode against what the memory delivers");
  command->footer("Example:\n  carat bench gemma3:270m-pt -p 128,512 -n 64 -d 0,2048 --stages");
  command->add_option("MODEL", flags->model, "A name, a GGUF file or a Hugging Face directory");
  const CLI::App* serve = add_bench_serve(*command, action);
  const CLI::App* structured = add_bench_structured(*command, action);
  const CLI::App* vision = add_bench_vision(*command, action);
  add_numbers(*command, "-p,--prompt", flags->prompts, 0, kMostTokens, "Prefill lengths in tokens; 0: none");
  add_number(*command, "-n,--generate", flags->generate, 0, kMostTokens, "Tokens to decode; 0: none");
  add_numbers(*command, "-d,--depth", flags->depths, 0, kMostTokens, "Tokens in the cache beforehand");
  add_number(*command, "-r,--repetitions", flags->repetitions, 1, 1000, "Repetitions; the median counts");
  command->add_flag("--stages", flags->stages, "Show where the time goes");
  command->add_flag("--json", flags->json, "Print the results as JSON");
  add_model_flags(*command, flags->loading);
  command->callback([&action, flags, serve, structured, vision] {
    if (serve->parsed() || structured->parsed() || vision->parsed()) return;
    action = [flags] {
      return run_and_report([&]() -> Status {
        if (flags->model.empty()) return Error{ErrorCode::kInvalidArgument, "MODEL is required"};
        return bench(*flags);
      });
    };
  });
}

}  // namespace carat::cli
