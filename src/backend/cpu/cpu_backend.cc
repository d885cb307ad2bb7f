#include "backend/cpu/cpu_backend.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstring>

#include "backend/cpu/amx.h"
#include "backend/cpu/arena.h"
#include "backend/cpu/cpu_weights.h"
#include "backend/cpu/forward_buffers.h"
#include "backend/cpu/step_plan.h"
#include "backend/step_outputs.h"
#include "backend/step_thread.h"
#include "base/machine.h"
#include "base/threads.h"
#include "base/topology.h"
#include "model/rope_table.h"

namespace carat::cpu {
namespace {

static_assert(kImageRow == carat::kImageRow);

using Clock = std::chrono::steady_clock;

class CpuBackend final : public Backend {
 public:
  CpuBackend(const Kernels& kernels, const ModelConfig& config, std::unique_ptr<Team> team, std::vector<int> on)
      : kernels_(kernels),
        config_(config),
        team_owner_(std::move(team)),
        team_(*team_owner_),
        on_(std::move(on)),
        frequencies_{rope_frequencies(config.rope_base_local, 1, config.head_size),
                     rope_frequencies(config.rope_base_global, config.rope_factor_global, config.head_size)} {}

  Status load(const Weights& weights) {
    CARAT_TRY(weights_, CpuWeights::pack(config_, weights, kernels_, team_));
    return {};
  }

  BackendInfo info() const override {
    return {kernels_.name, team_.workers(), weights_.bytes, kv_bytes_, weights_.decode_bytes};
  }

  Status reserve_kv(const KvPlan& plan) override {
    CARAT_ASSERT(thread_.idle());
    ModelPack& model = weights_.model;
    plan_ = plan;
    slots_.assign(static_cast<size_t>(plan.slots), 0);
    const size_t page = static_cast<size_t>(model.kv_heads) * kPageTokens * static_cast<size_t>(model.head_size);
    size_t layers[2] = {0, 0};
    for (const LayerPack& layer : weights_.layers) ++layers[layer.kind];
    const int32_t pages[2] = {plan.local_pages, plan.global_pages};
    kv_bytes_ = 0;
    for (const LayerKind kind : kLayerKinds) {
      page_halves_[kind] = 2 * page * layers[kind];
      const size_t bytes = page_halves_[kind] * sizeof(uint16_t) * static_cast<size_t>(pages[kind]);
      kv_[kind] = Arena();
      CARAT_TRY(kv_[kind], Arena::allocate(bytes, "the KV cache"));
      kv_bytes_ += bytes;
    }
    size_t next[2] = {0, 0};
    for (LayerPack& layer : weights_.layers) {
      layer.k_cache = reinterpret_cast<uint16_t*>(kv_[layer.kind].data()) + next[layer.kind];
      layer.v_cache = layer.k_cache + page;
      layer.page_stride = static_cast<int64_t>(page_halves_[layer.kind]);
      next[layer.kind] += 2 * page;
    }
    samplers_.resize(static_cast<size_t>(team_.workers()));
    return buffers_.allocate(model, plan.max_rows, team_.workers(), kernels_.has_tiles(DType::kQ4_0));
  }

  Result<Ticket> submit(const Step& step) override {
    CARAT_CHECK(check_step(step, plan_, config_));
    const int index = thread_.next_half();
    Half& half = halves_[static_cast<size_t>(index)];
    half.step = step;
    half.outputs.plan(step);
    half.plan.build(step, weights_.model, team_.workers());
    const size_t columns = frequencies_[0].size();
    for (size_t row = 0; row < step.rows.size(); ++row) {
      for (const LayerKind kind : kLayerKinds) {
        rope_row(frequencies_[kind], half.plan.rows[row].position, buffers_.rope_cos(index, kind) + row * columns,
                 buffers_.rope_sin(index, kind) + row * columns);
      }
    }
    return thread_.submit();
  }

  Result<StepResult> wait(Ticket ticket) override {
    CARAT_CHECK(thread_.wait(ticket));
    Half& half = halves_[ticket % 2];
    for (size_t stage = 0; stage < times_.size(); ++stage) {
      times_[stage].seconds += half.times[stage].seconds;
      if (stage == static_cast<size_t>(Stage::kLogits) && half.outputs.logits_rows().empty()) continue;
      times_[stage].weight_bytes += weights_.stage_bytes[stage];
    }
    return half.outputs.result(half.logits, half.hidden);
  }

  std::array<StageTime, kStageCount> stage_times() override { return std::exchange(times_, {}); }

 private:
  struct Half {  // of a step in flight
    Step step;
    StepOutputs outputs;
    StepPlan plan;
    std::vector<float> logits, hidden;
    std::array<StageTime, kStageCount> times{};
  };

  // Computes a step, on the step thread and the team.
  Status run(int index) {
    stay_on(std::exchange(on_, {}));
    Half& half = halves_[static_cast<size_t>(index)];
    running_ = &half;
    half.times = {};
    stage_start_ = Clock::now();
    for (const PageCopy& copy : half.step.copies) copy_page(copy);
    for (RowPlan& row : half.plan.rows) row.token = resolved(row.token);

    const ModelPack& model = weights_.model;
    const auto logits_rows = std::span(half.outputs.logits_rows());
    const auto hidden_rows = std::span(half.outputs.hidden_rows());
    half.logits.resize(logits_rows.size() * static_cast<size_t>(model.vocabulary));
    half.hidden.resize(hidden_rows.size() * static_cast<size_t>(model.width));
    partials_.resize(static_cast<size_t>(half.plan.partial_slots) * (static_cast<size_t>(model.head_size) + 16));
    buffers_.reserve_last(static_cast<int64_t>(logits_rows.size()));

    context_ = {};
    buffers_.put_into(context_, index);
    context_.model = &model;
    context_.team = &team_;
    context_.rows = static_cast<int64_t>(half.step.rows.size());
    context_.plan = half.plan.rows.data();
    for (const LayerKind kind : kLayerKinds) {
      context_.tasks[kind] = half.plan.tasks[kind].data();
      context_.task_count[kind] = static_cast<int64_t>(half.plan.tasks[kind].size());
    }
    context_.embeddings = half.step.embeddings.data();
    context_.logits_rows = logits_rows.data();
    context_.logits_count = static_cast<int64_t>(logits_rows.size());
    context_.logits = half.logits.data();
    context_.hidden_rows = hidden_rows.data();
    context_.hidden_count = static_cast<int64_t>(hidden_rows.size());
    context_.hidden_out = half.hidden.data();
    context_.partials = partials_.data();
    context_.arrived = half.plan.arrived.data();
    context_.stage_done = [](void* self, int stage, int) {
      static_cast<CpuBackend*>(self)->stage_done(static_cast<size_t>(stage));
    };
    context_.user = this;
    team_.run([](void* self, int worker) { static_cast<CpuBackend*>(self)->forward(worker); }, this);
    bar_ids(config_, half.logits);
    if (!half.outputs.samples().empty()) sample(half);
    return {};
  }

  void forward(int worker) { kernels_.forward(context_, worker); }

  int32_t resolved(int32_t token) const {
    return (token & kFromSlot) != 0 ? slots_[static_cast<size_t>(token - kFromSlot)] : token;
  }

  // Draws the samples, each by whichever worker claims it.
  void sample(Half& half) {
    team_.run([](void* self, int worker) { static_cast<CpuBackend*>(self)->sample_some(worker); }, this);
    for (size_t i = 0; i < half.outputs.samples().size(); ++i) {
      const int32_t slot = half.outputs.samples()[i].output.slot;
      // A sample that failed ends its sequence; whatever follows in flight is computed on any token and thrown away.
      if (slot >= 0) slots_[static_cast<size_t>(slot)] = std::max(0, half.outputs.sampled()[i].token);
    }
    stage_done(static_cast<size_t>(Stage::kSample));
  }

  void sample_some(int worker) {
    Half& half = *running_;
    const auto vocabulary = static_cast<size_t>(config_.vocabulary);
    const auto count = static_cast<int64_t>(half.outputs.samples().size());
    for (int64_t i = team_.claim(0, 1, count); i < count; i = team_.claim(0, 1, count)) {
      const auto& [output, row_index] = half.outputs.samples()[static_cast<size_t>(i)];
      const int32_t own = half.plan.rows[static_cast<size_t>(output.row)].token;
      const auto logits = std::span<const float>(half.logits).subspan(row_index * vocabulary, vocabulary);
      half.outputs.sampled()[static_cast<size_t>(i)] =
          samplers_[static_cast<size_t>(worker)].sample(logits, output.sample, own < kImageRow ? own : -1);
    }
  }

  void copy_page(const PageCopy& copy) {
    const LayerKind kind = copy.global ? kGlobal : kSliding;
    auto* pages = reinterpret_cast<uint16_t*>(kv_[kind].data());
    std::memcpy(pages + static_cast<size_t>(copy.to) * page_halves_[kind],
                pages + static_cast<size_t>(copy.from) * page_halves_[kind], page_halves_[kind] * sizeof(uint16_t));
  }

  void stage_done(size_t stage) {
    const auto now = Clock::now();
    running_->times[stage].seconds += std::chrono::duration<double>(now - stage_start_).count();
    stage_start_ = now;
  }

  const Kernels& kernels_;
  const ModelConfig config_;
  const std::unique_ptr<Team> team_owner_;
  Team& team_;
  std::vector<int> on_;                       // the hardware threads of the step thread; empty once it is there
  const std::vector<double> frequencies_[2];  // sliding, global
  CpuWeights weights_;
  Arena kv_[2];  // sliding, global: [page][layer of the kind][K, V]
  size_t page_halves_[2] = {};
  uint64_t kv_bytes_ = 0;
  KvPlan plan_;
  ForwardBuffers buffers_;
  std::array<Half, 2> halves_;
  std::array<StageTime, kStageCount> times_{};

  // The step thread's own.
  Half* running_ = nullptr;
  ForwardContext context_{};
  std::vector<float> partials_;
  std::vector<int32_t> slots_;
  std::vector<Sampler> samplers_;  // [workers]
  Clock::time_point stage_start_;

  StepThread thread_{[this](int half) { return run(half); }};  // last: it ends first
};

// What is compiled in, best first, and whether this machine has it.
struct CompiledIsa {
  const Kernels* kernels;
  bool there;
};

#if defined(__x86_64__)
// __builtin_cpu_supports of clang 14 does not know the name.
bool has_f16c() {
  unsigned int a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

std::vector<CompiledIsa> compiled_isas() {
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return {{&amx_kernels(), avx512 && amx_granted()},
          {&avx512_kernels(), avx512},
          {&avx2_kernels(), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()},
          {&portable_kernels(), true}};
}
#elif defined(__aarch64__)
std::vector<CompiledIsa> compiled_isas() {
  // Every core of a machine has what the kernel says here: it leaves out what some lack.
  const bool dot = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0 && (getauxval(AT_HWCAP) & HWCAP_ATOMICS) != 0;
  return {{&neon_i8mm_kernels(), dot && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0},
          {&neon_kernels(), dot},
          {&portable_kernels(), true}};
}
#else
std::vector<CompiledIsa> compiled_isas() { return {{&portable_kernels(), true}}; }
#endif

}  // namespace

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> kernels;
  for (const auto& [isa, there] : compiled_isas()) {
    if (there) kernels.push_back(isa);
  }
  return kernels;
}

std::vector<std::string> missing_kernels() {
  std::vector<std::string> missing;
  for (const auto& [isa, there] : compiled_isas()) {
    if (!there) missing.emplace_back(isa->name);
  }
  return missing;
}

Result<std::unique_ptr<Backend>> create_cpu_backend(const Kernels& kernels, const BackendOptions& options,
                                                    const ModelConfig& config, const Weights& weights) {
  if (options.precision != Precision::kExact) {
    return Error{ErrorCode::kInvalidArgument, "the CPU computes exactly only: --precision fast is for devices"};
  }
  const int workers = options.threads > 0 ? options.threads : usable_cores();
  const std::vector<int> on = preferred_threads(workers);
  CARAT_TRY(auto team, Team::create(workers, on));
  auto backend = std::make_unique<CpuBackend>(kernels, config, std::move(team), on);
  CARAT_CHECK(backend->load(weights));
  return std::unique_ptr<Backend>(std::move(backend));
}

Result<MemoryNeed> cpu_memory_need(const Kernels& kernels, const BackendOptions& options, const ModelConfig& config,
                                   const Weights& weights, int32_t max_rows) {
  MemoryNeed need;
  CARAT_TRY(need.weights, CpuWeights::packed_bytes(config, weights));
  const uint64_t layer_page =
      uint64_t{2} * sizeof(uint16_t) * kPageTokens * static_cast<uint64_t>(config.kv_heads * config.head_size);
  for (const bool global : config.is_global) (global ? need.global_page : need.local_page) += layer_page;
  const int workers = options.threads > 0 ? options.threads : usable_cores();
  need.activations =
      ForwardBuffers::bytes(CpuWeights::shape_of(config), max_rows, workers, kernels.has_tiles(DType::kQ4_0));
  need.logits_row = 2 * sizeof(float) * static_cast<uint64_t>(config.vocabulary);  // two steps are in flight
  return need;
}

int64_t team_claim(Team& team, int64_t stage, int64_t chunk, int64_t count) { return team.claim(stage, chunk, count); }
int64_t team_next_stage(Team& team, int64_t stage, void (*last)(void*), void* argument, const Wanted& wanted) {
  return team.next_stage(stage, last, argument, wanted);
}
int team_active(const Team& team) { return team.active(); }

}  // namespace carat::cpu
