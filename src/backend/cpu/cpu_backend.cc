#include "backend/cpu/cpu_backend.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <chrono>

#include "backend/cpu/arena.h"
#include "backend/cpu/cpu_weights.h"
#include "backend/cpu/rope_table.h"
#include "backend/cpu/step_plan.h"
#include "base/threads.h"
#include "base/topology.h"

namespace carat::cpu {
namespace {

using Clock = std::chrono::steady_clock;

class CpuBackend final : public Backend {
 public:
  CpuBackend(const Kernels& kernels, const BackendOptions& options, const ModelConfig& config)
      : kernels_(kernels),
        limit_(options.precision == Precision::kFast ? 127.0f : 16383.0f),
        team_(options.threads > 0 ? options.threads : usable_cores()),
        frequencies_{rope_frequencies(config.rope_base_local, 1, config.head_size),
                     rope_frequencies(config.rope_base_global, config.rope_factor_global, config.head_size)} {}

  Status load(const ModelConfig& config, const Weights& weights) {
    CARAT_TRY(weights_, CpuWeights::pack(config, weights, kernels_, team_));
    return {};
  }

  BackendInfo info() const override {
    return {kernels_.name, team_.workers(), weights_.bytes, kv_bytes_, weights_.decode_bytes};
  }

  Status reserve_kv(const KvPlan& plan) override {
    ModelPack& model = weights_.model;
    kv_plan_ = plan;
    // K and V of one layer: a page is [K][P][E] halves each.
    const size_t page = static_cast<size_t>(model.kv_heads) * kPageTokens * static_cast<size_t>(model.head_size);
    const auto layer_halves = [&](const LayerPack& layer) {  // of K, and of V
      return page * static_cast<size_t>(layer.global == 1 ? plan.global_pages : plan.local_pages);
    };
    size_t halves = 0;
    for (const LayerPack& layer : weights_.layers) halves += 2 * layer_halves(layer);
    kv_ = Arena();
    CARAT_TRY(kv_, Arena::allocate(halves * sizeof(uint16_t), "the KV cache"));
    kv_bytes_ = halves * sizeof(uint16_t);
    auto* next = reinterpret_cast<uint16_t*>(kv_.data());
    for (LayerPack& layer : weights_.layers) {
      const size_t size = layer_halves(layer);
      layer.k_cache = next;
      layer.v_cache = next + size;
      next += 2 * size;
    }
    return allocate_buffers();
  }

  Ticket submit(const Step& step) override {
    const auto T = static_cast<int64_t>(step.tokens.size());
    const auto L = static_cast<int64_t>(step.logits_rows.size());
    CARAT_ASSERT(T > 0 && T <= kv_plan_.max_rows);
    CARAT_ASSERT(plan_.build(step, weights_.model, kv_plan_, team_.workers()).ok());
    const size_t slot_floats = static_cast<size_t>(weights_.model.head_size) + 16;
    partials_.resize(static_cast<size_t>(plan_.partial_slots) * slot_floats);
    std::vector<float>& logits = logits_[ticket_ & 1];
    logits.resize(static_cast<size_t>(L) * static_cast<size_t>(weights_.model.vocabulary));

    const size_t half = frequencies_[0].size();
    for (int64_t row = 0; row < T; ++row) {
      for (int kind = 0; kind < 2; ++kind) {
        const size_t offset = static_cast<size_t>(row) * half;
        rope_row(frequencies_[kind], plan_.rows[static_cast<size_t>(row)].position, context_.rope_cos[kind] + offset,
                 context_.rope_sin[kind] + offset);
      }
    }
    context_.rows = T;
    context_.plan = plan_.rows.data();
    for (int kind = 0; kind < 2; ++kind) {
      context_.tasks[kind] = plan_.tasks[kind].data();
      context_.task_count[kind] = static_cast<int64_t>(plan_.tasks[kind].size());
    }
    context_.logits_rows = step.logits_rows.data();
    context_.logits_count = L;
    reserve_last(L);
    context_.partials = partials_.data();
    context_.logits = logits.data();
    stage_start_ = Clock::now();
    team_.run([](void* self, int worker) { static_cast<CpuBackend*>(self)->forward(worker); }, this);
    for (int stage = 0; stage < kStageCount; ++stage) {
      if (stage == static_cast<int>(Stage::kLogits) && L == 0) continue;
      times_[static_cast<size_t>(stage)].weight_bytes += weights_.stage_bytes[static_cast<size_t>(stage)];
    }
    return ticket_++;
  }

  std::span<const float> wait(Ticket ticket) override { return logits_[ticket & 1]; }

  std::array<StageTime, kStageCount> stage_times() override { return std::exchange(times_, {}); }

 private:
  void forward(int worker) { kernels_.forward(context_, worker); }

  // Carves an Activations out of a layout: pass one adds the sizes, pass two sets the pointers.
  struct ActivationOffsets {
    size_t values, ints, scales, sums;
  };
  static ActivationOffsets add_activations(Layout& layout, size_t rows, size_t columns) {
    return {layout.add<float>(rows * columns), layout.add<int16_t>(rows * columns),
            layout.add<float>(rows * (columns / 32 + 1)), layout.add<int32_t>(rows * columns / 16)};
  }
  Activations activations(uint8_t* base, const ActivationOffsets& at, int64_t columns) const {
    Activations x;
    x.values = reinterpret_cast<float*>(base + at.values);
    x.ints = reinterpret_cast<int16_t*>(base + at.ints);
    x.scales = reinterpret_cast<float*>(base + at.scales);
    x.sums = reinterpret_cast<int32_t*>(base + at.sums);
    x.columns = columns;
    x.limit = limit_;
    return x;
  }

  Status allocate_buffers() {
    const ModelPack& m = weights_.model;
    const auto T = static_cast<size_t>(kv_plan_.max_rows);
    const auto D = static_cast<size_t>(m.width);
    const auto HE = static_cast<size_t>(m.heads) * static_cast<size_t>(m.head_size);
    const auto KE = static_cast<size_t>(m.kv_heads) * static_cast<size_t>(m.head_size);
    const auto F = static_cast<size_t>(m.ffn_width);
    const auto E = static_cast<size_t>(m.head_size);
    Layout layout;
    const auto norm = add_activations(layout, T, D);
    const auto attended = add_activations(layout, T, HE);
    const auto gated = add_activations(layout, T, F);
    const size_t hidden = layout.add<float>(T * D);
    const size_t projected = layout.add<float>(T * D);
    const size_t query = layout.add<float>(T * HE);
    const size_t key = layout.add<float>(T * KE);
    const size_t value = layout.add<float>(T * KE);
    const size_t rope = layout.add<float>(4 * T * E / 2);
    struct ScratchOffsets {
      size_t sums, sums_2, panel, scores, part, running;
    };
    std::vector<ScratchOffsets> scratch;
    for (int worker = 0; worker < team_.workers(); ++worker) {
      const size_t rows = std::max<size_t>(T, 4) * kPanelRows;
      scratch.push_back({layout.add<float>(rows), layout.add<float>(rows), layout.add<uint8_t>(kPanelScratchBytes),
                         layout.add<float>(size_t{kTileRows} * kSplitKeys), layout.add<float>(kTileRows * E),
                         layout.add<float>(kTileRows * (E + 16))});
    }
    buffers_ = Arena();
    CARAT_TRY(buffers_, Arena::allocate(layout.bytes(), "activations"));
    auto floats = [&](size_t offset) { return reinterpret_cast<float*>(buffers_.data() + offset); };
    context_ = {};
    context_.model = &weights_.model;
    context_.team = &team_;
    context_.norm = activations(buffers_.data(), norm, m.width);
    context_.attended = activations(buffers_.data(), attended, static_cast<int64_t>(HE));
    context_.gated = activations(buffers_.data(), gated, m.ffn_width);
    context_.hidden = floats(hidden);
    context_.projected = floats(projected);
    context_.query = floats(query);
    context_.key = floats(key);
    context_.value = floats(value);
    for (size_t kind = 0; kind < 2; ++kind) {
      context_.rope_cos[kind] = floats(rope) + (2 * kind) * T * E / 2;
      context_.rope_sin[kind] = floats(rope) + (2 * kind + 1) * T * E / 2;
    }
    scratch_.clear();
    for (const ScratchOffsets& s : scratch) {
      scratch_.push_back({floats(s.sums), floats(s.sums_2), buffers_.data() + s.panel, floats(s.scores), floats(s.part),
                          floats(s.running)});
    }
    context_.scratch = scratch_.data();
    context_.stage_done = [](void* self, int stage, int) { static_cast<CpuBackend*>(self)->stage_done(stage); };
    context_.user = this;
    last_rows_ = 0;
    return {};
  }

  // The head's input grows with the rows that want logits: one in most steps, many for prompt log-probabilities.
  void reserve_last(int64_t rows) {
    if (rows <= last_rows_) return;
    Layout layout;
    const auto at = add_activations(layout, static_cast<size_t>(rows), static_cast<size_t>(weights_.model.width));
    last_storage_.resize(layout.bytes() + 64);
    const auto address = reinterpret_cast<uintptr_t>(last_storage_.data());
    uint8_t* base = last_storage_.data() + (64 - address % 64) % 64;
    context_.last = activations(base, at, weights_.model.width);
    last_rows_ = rows;
  }

  void stage_done(int stage) {
    const auto now = Clock::now();
    times_[static_cast<size_t>(stage)].seconds += std::chrono::duration<double>(now - stage_start_).count();
    stage_start_ = now;
  }

  const Kernels& kernels_;
  const float limit_;  // of rounded activations
  Team team_;
  const std::vector<double> frequencies_[2];  // sliding, global
  CpuWeights weights_;
  Arena kv_;
  Arena buffers_;
  uint64_t kv_bytes_ = 0;
  KvPlan kv_plan_;
  int64_t last_rows_ = 0;
  std::vector<uint8_t> last_storage_;
  std::vector<Scratch> scratch_;
  ForwardContext context_{};
  StepPlan plan_;
  std::vector<float> partials_;
  std::vector<float> logits_[2];
  Ticket ticket_ = 0;
  Clock::time_point stage_start_;
  std::array<StageTime, kStageCount> times_{};
};

#if defined(__x86_64__)
// __builtin_cpu_supports of clang 14 does not know the name.
bool has_f16c() {
  unsigned int a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

}  // namespace

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> kernels;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    kernels.push_back(&avx512_kernels());
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
    kernels.push_back(&avx2_kernels());
  }
#endif
  kernels.push_back(&portable_kernels());
  return kernels;
}

std::vector<std::string> missing_kernels() {
  std::vector<std::string> missing;
#if defined(__x86_64__)
  const auto available = available_kernels();
  for (const Kernels* kernels : {&avx512_kernels(), &avx2_kernels()}) {
    if (std::find(available.begin(), available.end(), kernels) == available.end()) missing.emplace_back(kernels->name);
  }
#endif
  return missing;
}

Result<std::unique_ptr<Backend>> create_cpu_backend(const Kernels& kernels, const BackendOptions& options,
                                                    const ModelConfig& config, const Weights& weights) {
  auto backend = std::make_unique<CpuBackend>(kernels, options, config);
  CARAT_CHECK(backend->load(config, weights));
  return std::unique_ptr<Backend>(std::move(backend));
}

int64_t team_claim(Team& team, int64_t stage, int64_t chunk, int64_t count) { return team.claim(stage, chunk, count); }
int64_t team_next_stage(Team& team, int64_t stage) { return team.next_stage(stage); }
int team_workers(const Team& team) { return team.workers(); }

}  // namespace carat::cpu
