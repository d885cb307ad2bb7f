// Steps run one after the other on the backend's thread, which feeds the device and draws the samples; the engine plans the
// next step meanwhile.
#include "backend/cuda/cuda_backend.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "backend/cuda/forward.h"
#include "backend/step_outputs.h"
#include "backend/step_thread.h"
#include "sampling/sampler.h"

namespace carat::cuda {
namespace {

class CudaBackend final : public Backend {
 public:
  CudaBackend(std::unique_ptr<Device> device, const ModelConfig& config)
      : device_(std::move(device)), config_(config) {}

  Status load(const Weights& weights, int blocks, Precision precision) {
    CARAT_TRY(forward_, Forward::create(*device_, config_, weights, blocks, precision));
    return {};
  }

  BackendInfo info() const override {
    const DeviceFacts facts = device_->facts();
    BackendInfo info;
    info.name = "cuda";
    info.threads = facts.multiprocessors;
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
    return thread_.submit();
  }

  Result<StepResult> wait(Ticket ticket) override {
    CARAT_CHECK(thread_.wait(ticket));
    Half& half = halves_[ticket % 2];
    for (size_t stage = 0; stage < times_.size(); ++stage) {
      times_[stage].seconds += half.seconds[stage];
      if (stage == static_cast<size_t>(Stage::kLogits) && half.outputs.logits_rows().empty()) continue;
      times_[stage].weight_bytes += forward_->weights().stage_bytes[stage];
    }
    return half.outputs.result(half.results.logits, half.results.hidden);
  }

  std::array<StageTime, kStageCount> stage_times() override { return std::exchange(times_, {}); }

 private:
  struct Half {  // of a step in flight
    Step step;
    StepOutputs outputs;
    Forward::Results results;
    std::array<double, kStageCount> seconds{};
  };

  Status run(Half& half) {
    tokens_.clear();
    for (const Row& row : half.step.rows) {
      const bool from_slot = (row.token & kFromSlot) != 0;
      tokens_.push_back(from_slot ? slots_[static_cast<size_t>(row.token - kFromSlot)] : row.token);
    }
    bool logits =
        half.outputs.samples().size() != half.step.outputs.size();  // kLogits, or kHidden, which costs nothing more
    int32_t top_k = 0;
    for (const auto& sample : half.outputs.samples()) {
      if (is_argmax(sample.output.sample)) continue;
      const int32_t most = most_that_decide(sample.output.sample);
      top_k = std::max(top_k, most);
      logits = logits || most == 0 || most > kMostTop;
    }
    if (logits) top_k = 0;  // all is on the host
    CARAT_CHECK(forward_->run(half.step, tokens_,
                              {half.outputs.logits_rows(), half.outputs.hidden_rows(), logits, top_k}, half.results));
    half.seconds = forward_->stage_seconds();
    const auto begin = std::chrono::steady_clock::now();
    for (size_t i = 0; i < half.outputs.samples().size(); ++i) draw(half, i);
    for (size_t i = 0; i < half.outputs.samples().size(); ++i) {
      const int32_t slot = half.outputs.samples()[i].output.slot;
      if (slot >= 0) slots_[static_cast<size_t>(slot)] = std::max(0, half.outputs.sampled()[i].token);
    }
    half.seconds[static_cast<size_t>(Stage::kSample)] +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return {};
  }

  // Whether the token is the most probable one, and nothing more is asked for.
  static bool is_argmax(const SampleSpec& spec) {
    return spec.params->temperature == 0 && !spec.params->logprobs && takes_logits_as_they_are(spec);
  }

  void draw(Half& half, size_t i) {
    const auto& [output, row_index] = half.outputs.samples()[i];
    Sampled& sampled = half.outputs.sampled()[i];
    const bool argmax = is_argmax(output.sample);
    if (argmax || !half.results.most.empty()) {
      const Forward::Best best = half.results.best[row_index];
      sampled = {};
      if (!best.sound) {
        sampled.fault = SampleFault::kNotFinite;
      } else if (argmax) {
        sampled.token = best.token;
      } else {
        sampled = sampler_.sample_most(half.results.most[row_index], output.sample);
      }
      return;
    }
    const int32_t own = tokens_[static_cast<size_t>(output.row)];
    const auto vocabulary = static_cast<size_t>(config_.vocabulary);
    const auto logits = std::span<const float>(half.results.logits).subspan(row_index * vocabulary, vocabulary);
    sampled = sampler_.sample(logits, output.sample, own < kImageRow ? own : -1);
  }

  std::unique_ptr<Device> device_;
  const ModelConfig config_;
  std::unique_ptr<Forward> forward_;
  KvPlan plan_;
  std::vector<int32_t> slots_, tokens_;
  Sampler sampler_;
  std::array<Half, 2> halves_;
  std::array<StageTime, kStageCount> times_{};
  StepThread thread_{[this](int half) { return run(halves_[static_cast<size_t>(half)]); }};  // last: it ends first
};

}  // namespace

Result<std::unique_ptr<Backend>> create_backend_on(std::unique_ptr<Device> device, const BackendOptions& options,
                                                   const ModelConfig& config, const Weights& weights) {
  auto backend = std::make_unique<CudaBackend>(std::move(device), config);
  CARAT_CHECK(backend->load(weights, options.threads, options.precision));
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace carat::cuda
