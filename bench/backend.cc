// Times a backend without a model's files: random weights of a real shape, decode, prefill and batches, and the time of
// each stage. With check= it first compares tokens with another backend, bit for bit.
//   backend_bench SHAPE TYPE BACKEND [threads=N,..] [precision=fast] [invariant=1] [chunk=2048] [check=BACKEND] [prefill=2048,8192] [decode=0,4096] [batch=8,64] [stress=600]
#include "backend/backend.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/random_blocks.h"
#include "model/synth_config.h"
#include "model/tensors.h"
#include "stress.h"

using namespace carat;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Model {
  ModelConfig config;
  Weights weights;
  std::vector<std::unique_ptr<std::byte[]>> storage;
};

template <class T>
T must(Result<T> result) {
  if (result.ok()) return std::move(*result);
  fmt::print("error: {}\n", result.error().message);
  std::exit(1);
}
void must(const Status& status) {
  if (status.ok()) return;
  fmt::print("error: {}\n", status.error().message);
  std::exit(1);
}

Model random_model(const SynthShape& shape, WeightRecipe recipe) {
  Model m;
  m.config = config_of(shape);
  std::vector<TensorView> views;
  uint64_t seed = 1;
  for (const SynthTensor& t : synth_tensors(shape, recipe)) {
    const size_t bytes = *dtype_bytes(t.type, static_cast<uint64_t>(t.rows * t.columns));
    m.storage.emplace_back(new std::byte[bytes]);
    const std::span<std::byte> data(m.storage.back().get(), bytes);
    if (t.rows == 1) {
      const float one = 1.0f;
      for (size_t i = 0; i < bytes; i += 4) std::memcpy(data.data() + i, &one, 4);
    } else {
      random_blocks(t.type, 0.7f / std::sqrt(static_cast<float>(t.columns)), ++seed, data);
    }
    views.push_back({t.name, t.type, t.rows, t.columns, data});
  }
  m.weights = must(bind_tensors(m.config, views, TensorNaming::kGguf, "random"));
  return m;
}

// Sequences side by side, each with its own pages.
class Runner {
 public:
  Runner(Backend& backend, const ModelConfig& config, int32_t sequences, int32_t tokens, int32_t max_rows)
      : backend_(backend), sequences_(sequences) {
    const int32_t pages = (tokens + kPageTokens - 1) / kPageTokens;
    const int32_t ring = std::min(pages, (config.window + max_rows / sequences + kPageTokens - 1) / kPageTokens + 2);
    must(backend.reserve_kv({pages * sequences, ring * sequences, max_rows, sequences}));
    for (int32_t s = 0; s < sequences; ++s) {
      global_.emplace_back();
      local_.emplace_back();
      for (int32_t i = 0; i < pages; ++i) global_.back().push_back(s * pages + i);
      for (int32_t i = 0; i < ring; ++i) local_.back().push_back(s * ring + i);
    }
    past_.assign(static_cast<size_t>(sequences), 0);
    greedy_.temperature = 0;
  }

  // `count` rows of every sequence; sampled greedily where `sample`, from slots where `from_slot`.
  Step plan(int32_t count, bool sample, bool from_slot, bool want_logits = false) {
    return plan_of(0, sequences_, count, sample, from_slot, want_logits);
  }
  // Of sequences [first, last).
  Step plan_of(int32_t first, int32_t last, int32_t count, bool sample, bool from_slot, bool want_logits = false) {
    planned_ = 1 - planned_;  // two steps may be in flight
    auto& [rows, seqs, outputs] = plans_[planned_];
    rows.clear();
    seqs.clear();
    outputs.clear();
    for (int32_t s = first; s < last; ++s) {
      const auto begin = static_cast<int32_t>(rows.size());
      int32_t& past = past_[static_cast<size_t>(s)];
      for (int32_t i = 0; i < count; ++i) {
        rows.push_back({from_slot ? kFromSlot | s : 5 + (past + i + s) * 7919 % 250000, past + i});
      }
      seqs.push_back({begin, begin + count, past, global_[static_cast<size_t>(s)], local_[static_cast<size_t>(s)]});
      Output output;
      output.row = begin + count - 1;
      output.slot = s;
      output.sample.params = &greedy_;
      if (sample) outputs.push_back(output);
      output.kind = OutputKind::kLogits;
      if (want_logits) outputs.push_back(output);
      past += count;
    }
    return {rows, seqs, outputs, {}, {}};
  }
  StepResult run(const Step& step) { return must(backend_.wait(must(backend_.submit(step)))); }
  // Every step that `next` has: each is planned and submitted while the one before is computed, as the engine does.
  template <typename Next>
  void run_each(Next next) {
    std::optional<Backend::Ticket> before;
    while (const std::optional<Step> step = next()) {
      const auto ticket = must(backend_.submit(*step));
      if (before) static_cast<void>(must(backend_.wait(*before)));
      before = ticket;
    }
    if (before) static_cast<void>(must(backend_.wait(*before)));
  }
  // `most` steps of a row of every sequence, or as many as begin within `seconds`; returns how many.
  int run_in_turns(int most, double seconds) {
    const double begin = now();
    int steps = 0;
    run_each([&]() -> std::optional<Step> {
      if (steps == most || (steps > 0 && now() - begin >= seconds)) return std::nullopt;
      ++steps;
      return plan(1, true, true);
    });
    return steps;
  }

 private:
  Backend& backend_;
  int32_t sequences_;
  std::vector<std::vector<int32_t>> global_, local_;
  std::vector<int32_t> past_;
  struct Plan {
    std::vector<Row> rows;
    std::vector<SeqRows> seqs;
    std::vector<Output> outputs;
  } plans_[2];
  int planned_ = 0;
  SamplingParams greedy_;
};

void print_stages(Backend& backend, int steps) {
  const auto times = backend.stage_times();
  for (size_t i = 0; i < times.size(); ++i) {
    if (times[i].seconds == 0) continue;
    fmt::print("  {} {:.0f} us", kStageNames[i], times[i].seconds / steps * 1e6);
    if (times[i].weight_bytes != 0)
      fmt::print(" {:.0f} GB/s", static_cast<double>(times[i].weight_bytes) / times[i].seconds / 1e9);
  }
  fmt::print("\n");
}

void decode(Backend& backend, const ModelConfig& config, int32_t depth) {
  constexpr int kMost = 128;  // tokens; fewer where they take a second
  Runner runner(backend, config, 1, depth + kMost + 80, 2048);
  int32_t filled = 0;
  do {
    const int32_t count = std::max(1, std::min(2048, depth - filled));
    runner.run(runner.plan(count, true, false));
    filled += count;
  } while (filled < depth);
  for (int i = 0; i < 8; ++i) runner.run(runner.plan(1, true, true));
  backend.stage_times();
  const double begin = now();
  const int steps = runner.run_in_turns(kMost, 1);
  const double seconds = now() - begin;
  fmt::print("decode at {}: {:.1f} tok/s, {:.1f} GB/s of weights\n", depth, steps / seconds,
             static_cast<double>(backend.info().decode_bytes) * steps / seconds / 1e9);
  print_stages(backend, steps);
}

// In steps of `chunk` rows.
void prefill(Backend& backend, const ModelConfig& config, int32_t tokens, int32_t chunk) {
  const int32_t rows = std::min(tokens, chunk);
  double best = 1e9;
  for (int repeat = 0; repeat < 3; ++repeat) {
    Runner runner(backend, config, 1, tokens, rows);
    backend.stage_times();
    const double begin = now();
    int32_t done = 0;
    runner.run_each([&]() -> std::optional<Step> {
      if (done == tokens) return std::nullopt;
      const int32_t count = std::min(rows, tokens - done);
      done += count;
      return runner.plan(count, done == tokens, false);
    });
    best = std::min(best, now() - begin);
  }
  fmt::print("prefill {} by {}: {:.0f} tok/s\n", tokens, rows, tokens / best);
  print_stages(backend, 1);
}

// Prompts come whole, as many as a step has rows for, as the scheduler plans them.
void batch(Backend& backend, const ModelConfig& config, int32_t sequences, int32_t chunk) {
  constexpr int32_t kPrompt = 128;
  const int32_t together = std::max(1, std::min(sequences, chunk / kPrompt));
  Runner runner(backend, config, sequences, 300, std::max(together * kPrompt, sequences));
  const double start = now();
  int32_t last = 0;
  runner.run_each([&]() -> std::optional<Step> {
    if (last == sequences) return std::nullopt;
    const int32_t first = std::exchange(last, std::min(sequences, last + together));
    return runner.plan_of(first, last, kPrompt, true, false);
  });
  const double begin = now();
  backend.stage_times();
  const int steps = runner.run_in_turns(127, std::numeric_limits<double>::infinity());
  const double end = now();
  fmt::print("{} sequences of 128 + 128: {:.0f} output tok/s, decode alone {:.0f}, prompts {:.0f}\n", sequences,
             sequences * 128 / (end - start), sequences * steps / (end - begin), sequences * kPrompt / (begin - start));
  print_stages(backend, steps);
}

std::vector<float> some_logits(Backend& backend, const ModelConfig& config, int32_t sequences) {
  Runner runner(backend, config, sequences, 1600, 1500);
  std::vector<float> out;
  const auto take = [&](const StepResult& result) {
    for (const auto row : result.logits) out.insert(out.end(), row.begin(), row.end());
    for (const Sampled& sampled : result.samples) out.push_back(static_cast<float>(sampled.token));
  };
  for (const int32_t count : {1500 / sequences, 20, 3}) take(runner.run(runner.plan(count, true, false, true)));
  for (int i = 0; i < 6; ++i) take(runner.run(runner.plan(1, true, true, true)));
  return out;
}

bool check(Backend& backend, const Model& model, const std::string& other_name) {
  auto other = must(create_backend({other_name, 0, Precision::kExact}, model.config, model.weights));
  bool same = true;
  for (const int32_t sequences : {1, 3}) {
    const auto a = some_logits(backend, model.config, sequences);
    const auto b = some_logits(*other, model.config, sequences);
    size_t differ = 0;
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      differ += std::memcmp(&a[i], &b[i], 4) != 0;
      worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
    }
    fmt::print("check against {}, {} sequences: {} of {} logits differ, worst by {:.3g} (first {:.5g})\n",
               other->info().name, sequences, differ, a.size(), worst, a[0]);
    same = same && differ == 0;
  }
  return same;
}

std::vector<int32_t> numbers(const char* text) {
  std::vector<int32_t> out;
  for (const char* p = text; *p != 0;) {
    out.push_back(static_cast<int32_t>(std::strtol(p, const_cast<char**>(&p), 10)));
    if (*p == ',') ++p;
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(
        "usage: backend_bench SHAPE TYPE BACKEND [threads=N,..] [precision=fast] [invariant=1] [chunk=ROWS] "
        "[check=BACKEND] [prefill=N,..] [decode=DEPTH,..] [batch=N,..] [stress=SECONDS]\n");
    return 2;
  }
  const auto shape = synth_shape(argv[1]);
  const auto recipe = weight_recipe(argv[2]);
  if (!shape || !recipe) return 2;
  double begin = now();
  const Model model = random_model(*shape, *recipe);
  fmt::print("{} {}: random weights in {:.1f} s\n", argv[1], argv[2], now() - begin);
  std::vector<int32_t> threads{0};
  BackendOptions options;
  options.name = argv[3];
  for (int i = 4; i < argc; ++i) {
    if (std::strchr(argv[i], '=') == nullptr) return 2;
    if (std::strncmp(argv[i], "threads=", 8) == 0) threads = numbers(argv[i] + 8);
    if (std::strcmp(argv[i], "precision=fast") == 0) options.precision = Precision::kFast;
    if (std::strcmp(argv[i], "invariant=1") == 0) options.batch_invariant = true;
  }
  bool same = true;
  // Rows of a step of prompts, of what follows on the command line; the stress has shorter ones, too.
  int32_t chunk = 2048;
  for (const int32_t count : threads) {
    begin = now();
    options.threads = count;
    auto made = create_backend(options, model.config, model.weights);
    if (!made.ok() && made.error().code == ErrorCode::kUnsupported) {
      fmt::print("{}\n", made.error().message);
      return 77;  // as ctest has it: skipped
    }
    const auto backend = must(std::move(made));
    fmt::print("{}: {} threads, loaded in {:.2f} s, {} MB a token\n", backend->info().name, backend->info().threads,
               now() - begin, backend->info().decode_bytes / 1000000);
    for (int i = 4; i < argc; ++i) {
      const char* value = std::strchr(argv[i], '=') + 1;
      const std::string what(argv[i], static_cast<size_t>(value - 1 - argv[i]));
      if (what == "chunk") chunk = std::max(1, std::atoi(value));
      if (what == "check") same = check(*backend, model, value) && same;
      if (what == "decode") {
        for (const int32_t n : numbers(value)) decode(*backend, model.config, n);
      }
      if (what == "stress") {
        const bool invariant = options.batch_invariant || is_quantised(model.weights.layers[0].down.type);
        same = stress(*backend, model.config, chunk, invariant, std::atof(value)) && same;
      }
      if (what == "prefill") {
        for (const int32_t n : numbers(value)) prefill(*backend, model.config, n, chunk);
      }
      if (what == "batch") {
        for (const int32_t n : numbers(value)) batch(*backend, model.config, n, chunk);
      }
      std::fflush(stdout);
    }
  }
  return same ? 0 : 1;
}
