// Steps run one after the other on the backend's thread, which feeds the device and draws the samples; the engine plans the
// next step meanwhile.
#include "backend/cuda/cuda_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "backend/cuda/forward.h"
#include "backend/cuda/params.h"
#include "backend/device_loss.h"
#include "backend/step_outputs.h"
#include "backend/step_thread.h"
#include "base/random.h"
#include "sampling/sampler.h"
#include "sampling/softmax.h"

namespace carat::cuda {
namespace {

class CudaBackend final : public Backend {
 public:
  CudaBackend(std::unique_ptr<Device> device, const ModelConfig& config)
      : device_(std::move(device)), facts_(device_->facts()), config_(config) {}

  Status load(const Weights& weights, const BackendOptions& options) {
    CARAT_TRY(forward_, Forward::create(*device_, config_, weights, options));
    return {};
  }

  BackendInfo info() const override {
    BackendInfo info;
    info.name = "cuda";
    info.device = facts_.name;
    info.threads = facts_.multiprocessors;
    info.weight_bytes = forward_->weights().bytes;
    info.kv_bytes = forward_->kv_bytes();
    info.decode_bytes = forward_->weights().decode_bytes;
    return info;
  }

  Status reserve_kv(const KvPlan& plan) override {
    CARAT_ASSERT(thread_.idle());
    plan_ = plan;
    slots_.assign(static_cast<size_t>(plan.slots), 0);
    return forward_->reserve(plan);
  }

  Result<Ticket> submit(const Step& step) override {
    CARAT_CHECK(check_step(step, plan_, config_));
    Half& half = halves_[static_cast<size_t>(thread_.next_half())];
    half.step = step;
    half.outputs.plan(step);
    half.begun = false;
    return thread_.submit();
  }

  Result<StepResult> wait(Ticket ticket) override {
    CARAT_CHECK(thread_.wait(ticket, [this](double seconds) { return patience(seconds); }));
    Half& half = halves_[ticket % 2];
    for (size_t stage = 0; stage < times_.size(); ++stage) {
      times_[stage].seconds += half.seconds[stage];
      if (stage == static_cast<size_t>(Stage::kLogits) && half.outputs.logits_rows().empty()) continue;
      times_[stage].weight_bytes += forward_->weights().stage_bytes[stage];
    }
    return half.outputs.result(half.results.logits, half.results.hidden);
  }

  std::array<StageTime, kStageCount> stage_times() override { return std::exchange(times_, {}); }

  bool hangs() const { return thread_.given_up(); }

 private:
  // The device itself ends what hangs, but for a call of the driver's that never returns.
  Status patience(double seconds) const {
    const double silent = std::min(seconds, device_->silent_seconds());
    if (silent < 1.1 * facts_.patience_seconds + 0.5) return {};
    Error error{ErrorCode::kIo,
                fmt::format("{}: a step hangs: the driver has not answered for {:.3g} seconds", facts_.name, silent)};
    lose_device(error.message);
    return error;
  }

  struct Half {  // of a step in flight
    Step step;
    StepOutputs outputs;
    Forward::Results results;
    std::array<double, kStageCount> seconds{};

    // The thread's own, while it is computed.
    bool begun = false;
    bool on_device = false;  // every sample is drawn there: the step after it may begin before this one ends
    Status outcome;          // of its beginning
    std::vector<int32_t> tokens, samples_of;  // samples_of: how many, of each row of logits
    std::vector<DrawSpec> device_draws;
    std::vector<Forward::RowDraw> draws;
    std::vector<Adjustment> adjustments;
    Forward::Wanted wanted;
  };

  // Computes a step; while its results are waited for, the next one begins, if it can.
  Status run(int index) {
    Half& half = halves_[static_cast<size_t>(index)];
    Half& next = halves_[static_cast<size_t>(1 - index)];
    if (!half.begun) begin(index, nullptr);
    bool looked = false;
    const auto meanwhile = [&] {
      if (looked || !thread_.next_is_submitted()) return;
      looked = true;
      if (!next.begun && half.on_device && is_drawn_on_device(next)) begin(1 - index, &half);
    };
    if (half.outcome.ok()) half.outcome = forward_->end(index, half.wanted, half.results, meanwhile);
    if (!half.outcome.ok()) {
      static_cast<void>(device_->finish());  // of what was begun nothing may come later
      return Error(half.outcome.error());
    }
    half.seconds = forward_->stage_seconds();
    for (size_t i = 0; half.draws.empty() && i < half.outputs.samples().size(); ++i) {
      take_best(half, i);
      Sampled& sampled = half.outputs.sampled()[i];
      const size_t row_index = half.outputs.samples()[i].row_index;
      if (half.on_device && sampled.fault == SampleFault::kNone) sampled.token = half.results.drawn[row_index];
    }
    for (size_t i = 0; i < half.outputs.samples().size(); ++i) {
      const int32_t slot = half.outputs.samples()[i].output.slot;
      if (slot >= 0) slots_[static_cast<size_t>(slot)] = std::max(0, half.outputs.sampled()[i].token);
    }
    return {};
  }

  // Asks the device for a step. `before`: the one that is still computed; what it samples is in its slots on the device.
  void begin(int index, const Half* before) {
    Half& half = halves_[static_cast<size_t>(index)];
    const auto is_on_its_way = [&](int32_t slot) {
      const auto fills = [slot](const StepOutputs::Sample& sample) { return sample.output.slot == slot; };
      return before != nullptr &&
             std::any_of(before->outputs.samples().begin(), before->outputs.samples().end(), fills);
    };
    half.tokens.clear();
    for (const Row& row : half.step.rows) {
      const int32_t slot = row.token - kFromSlot;
      const bool known = (row.token & kFromSlot) == 0 || is_on_its_way(slot);
      half.tokens.push_back(known ? row.token : slots_[static_cast<size_t>(slot)]);
    }
    half.on_device = is_drawn_on_device(half);
    half.draws.clear();
    half.device_draws.clear();
    if (half.on_device) {
      plan_device_draws(half);
    } else {
      plan_draws(half);
    }
    half.wanted = {half.outputs.logits_rows(), half.outputs.hidden_rows(), half.draws, half.device_draws,
                   [this, &half](size_t first, size_t count) { return draw_found(half, first, count); }};
    half.outcome = forward_->begin(index, half.step, half.tokens, half.wanted, half.results);
    half.begun = true;
  }

  // Every output is a sample of a row of its own, which the device draws from the row as it is.
  static bool is_drawn_on_device(const Half& half) {
    const auto& samples = half.outputs.samples();
    if (samples.size() != half.step.outputs.size() || samples.size() != half.outputs.logits_rows().size()) return false;
    return std::all_of(samples.begin(), samples.end(), [](const StepOutputs::Sample& sample) {
      const SampleSpec& spec = sample.output.sample;
      const DrawFrom from = draw_needs(*spec.params, kMostTop).from;
      const bool can =
          from == DrawFrom::kBest || (from == DrawFrom::kTop && spec.params->typical_p >= 1 && spec.params->min_p < 1);
      return can && !spec.params->logprobs && takes_logits_as_they_are(spec);
    });
  }

  static void plan_device_draws(Half& half) {
    half.device_draws.resize(half.outputs.logits_rows().size());
    for (const auto& [output, row_index] : half.outputs.samples()) {
      const SamplingParams& params = *output.sample.params;
      DrawSpec& spec = half.device_draws[row_index];
      spec = {};
      spec.slot = output.slot;
      if (params.temperature == 0) continue;
      spec.top_k = params.top_k;
      spec.temperature = params.temperature;
      spec.top_p = params.top_p;
      spec.below = params.min_p > 0 ? log_positive(params.min_p) : 0;
      spec.uniform = uniform_draw(output.sample.seed, static_cast<uint64_t>(output.sample.generated));
    }
  }

  // What the device finds out of each row; nothing, where every token is the most probable one of its row.
  void plan_draws(Half& half) {
    half.draws.assign(half.outputs.logits_rows().size(), {});
    half.adjustments.clear();
    half.samples_of.assign(half.draws.size(), 0);
    for (const auto& [output, row_index] : half.outputs.samples()) ++half.samples_of[row_index];
    for (const size_t index : half.outputs.logits_indices()) half.draws[index].row = true;
    std::vector<std::pair<size_t, size_t>> lists(half.draws.size());  // begin, count in half.adjustments
    for (const auto& [output, row_index] : half.outputs.samples()) {
      Forward::RowDraw& draw = half.draws[row_index];
      const SampleSpec& spec = output.sample;
      const DrawNeeds needs = draw_needs(*spec.params, kMostTop);
      if (needs.from == DrawFrom::kRow || half.samples_of[row_index] > 1) {
        draw = {.row = true};
        continue;
      }
      draw.top = needs.top;
      draw.below = needs.below;
      draw.temperature = needs.temperature;
      draw.raw_sums = spec.params->logprobs;
      draw.raw_top = spec.params->logprobs ? spec.params->top_logprobs : 0;
      draw.allowed = spec.allowed;
      const auto changed = sampler_.adjustments(spec, own_token(half, output));
      lists[row_index] = {half.adjustments.size(), changed.size()};
      half.adjustments.insert(half.adjustments.end(), changed.begin(), changed.end());
    }
    for (size_t i = 0; i < half.draws.size(); ++i) {
      half.draws[i].adjustments = std::span(half.adjustments).subspan(lists[i].first, lists[i].second);
    }
    if (std::none_of(half.draws.begin(), half.draws.end(), [](const auto& draw) { return draw.any(); }))
      half.draws.clear();
  }

  static int32_t own_token(const Half& half, const Output& output) {
    const int32_t own = half.tokens[static_cast<size_t>(output.row)];
    return own < kImageRow ? own : -1;
  }

  void take_best(Half& half, size_t i) const {
    const Forward::Best best = half.results.best[half.outputs.samples()[i].row_index];
    Sampled& sampled = half.outputs.sampled()[i];
    if (best.sound) {
      sampled.token = best.token;
    } else {
      sampled.fault = SampleFault::kNotFinite;
    }
  }

  // The samples of rows whose results are there.
  Status draw_found(Half& half, size_t first, size_t count) {
    for (size_t i = 0; i < half.outputs.samples().size(); ++i) {
      const size_t row_index = half.outputs.samples()[i].row_index;
      if (row_index >= first && row_index < first + count) CARAT_CHECK(draw(half, i));
    }
    return {};
  }

  Status draw(Half& half, size_t i) {
    const auto& [output, row_index] = half.outputs.samples()[i];
    const SampleSpec& spec = output.sample;
    Sampled& sampled = half.outputs.sampled()[i];
    if (half.draws[row_index].row &&
        (half.samples_of[row_index] > 1 || draw_needs(*spec.params, kMostTop).from == DrawFrom::kRow)) {
      const auto V = static_cast<size_t>(config_.vocabulary);
      sampled = sampler_.sample(std::span<const float>(half.results.logits).subspan(row_index * V, V), spec,
                                own_token(half, output));
      return {};
    }
    take_best(half, i);
    if (sampled.fault != SampleFault::kNone) return {};
    const Forward::Results::Found& found = half.results.found[row_index];
    CARAT_TRY(sampled.token, choose(found, row_index, spec));
    if (sampled.token < 0) {
      sampled.fault = SampleFault::kNothingAllowed;
    } else if (spec.params->logprobs) {
      CARAT_TRY(const float logit, raw_logit(found, half.draws[row_index].adjustments, row_index, sampled.token));
      const double peak = half.results.best[row_index].logit;
      Sampler::tell_logprobs(sampled, logit, log_of_sums(peak, found.raw_sums), found.raw_top, *spec.params);
    }
    return {};
  }

  Result<int32_t> choose(const Forward::Results::Found& found, size_t row_index, const SampleSpec& spec) {
    const auto V = static_cast<size_t>(config_.vocabulary);
    if (found.best.id < 0) return -1;
    switch (draw_needs(*spec.params, kMostTop).from) {
      case DrawFrom::kBest:
        return found.best.id;
      case DrawFrom::kTop:
      case DrawFrom::kMinP:
        return sampler_.choose_of_most(found.top, spec);
      case DrawFrom::kNucleus:
        if (const auto token = sampler_.choose_of_nucleus(found.top, found.best.logit, found.sums, spec)) return *token;
        break;
      case DrawFrom::kAll: {
        const Sampler::Piece piece = Sampler::choose_piece(found.sums, spec);
        const size_t begin = piece.number * kPieceLogits;
        row_.resize(std::min<size_t>(kPieceLogits, V - begin));
        CARAT_CHECK(forward_->fetch(row_index, begin, row_));
        return Sampler::choose_in_piece(row_, piece, found.best.logit, spec);
      }
      case DrawFrom::kRow:
        break;
    }
    row_.resize(V);
    CARAT_CHECK(forward_->fetch(row_index, 0, row_));
    return sampler_.choose(row_, spec);
  }

  // What a token's logit was before anything was done to it.
  Result<float> raw_logit(const Forward::Results::Found& found, std::span<const Adjustment> list, size_t row_index,
                          int32_t token) {
    for (size_t i = 0; i < list.size(); ++i) {
      if (list[i].id == token) return found.before[i];
    }
    if (found.best.id == token) return found.best.logit;
    for (const auto* candidates : {&found.top, &found.raw_top}) {
      for (const Candidate& c : *candidates) {
        if (c.id == token) return c.logit;
      }
    }
    float logit = 0;
    CARAT_CHECK(forward_->fetch(row_index, static_cast<size_t>(token), {&logit, 1}));
    return logit;
  }

  std::unique_ptr<Device> device_;
  const DeviceFacts facts_;
  const ModelConfig config_;
  std::unique_ptr<Forward> forward_;
  KvPlan plan_;
  std::vector<int32_t> slots_;
  Sampler sampler_;
  std::vector<float> row_;
  std::array<Half, 2> halves_;
  std::array<StageTime, kStageCount> times_{};
  StepThread thread_{[this](int half) { return run(half); }};  // last: it ends first
};

// A backend whose thread hangs in the driver is never destroyed: the thread may come back.
class AbandonableBackend final : public Backend {
 public:
  explicit AbandonableBackend(std::unique_ptr<CudaBackend> backend) : backend_(std::move(backend)) {}
  ~AbandonableBackend() override {
    if (backend_->hangs()) static_cast<void>(backend_.release());
  }
  BackendInfo info() const override { return backend_->info(); }
  Status reserve_kv(const KvPlan& plan) override { return backend_->reserve_kv(plan); }
  Result<Ticket> submit(const Step& step) override { return backend_->submit(step); }
  Result<StepResult> wait(Ticket ticket) override { return backend_->wait(ticket); }
  std::array<StageTime, kStageCount> stage_times() override { return backend_->stage_times(); }

 private:
  std::unique_ptr<CudaBackend> backend_;
};

}  // namespace

Concurrency concurrency_of(const DeviceFacts& facts) {
  constexpr uint64_t kSmallBytes = uint64_t{24} << 30;
  // An Orin Nano, say: 8 GB for all of a robot. 256 sequences of the 1B would have 3.7 GB of windows.
  if (facts.shares_memory && facts.memory_bytes < kSmallBytes)
    return {.sequences = 16, .rows = 512, .alone_rows = 512, .whole_contexts = 4};
  // Kernels of more rows wait, begin and end more seldom.
  return {.sequences = 256, .rows = 2048, .alone_rows = facts.shares_memory ? 2048 : 8192, .whole_contexts = 8};
}

Result<std::unique_ptr<Backend>> create_backend_on(std::unique_ptr<Device> device, const BackendOptions& options,
                                                   const ModelConfig& config, const Weights& weights) {
  auto backend = std::make_unique<CudaBackend>(std::move(device), config);
  CARAT_CHECK(backend->load(weights, options));
  return std::unique_ptr<Backend>(std::make_unique<AbandonableBackend>(std::move(backend)));
}

}  // namespace carat::cuda
