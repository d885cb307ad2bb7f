#include "backend/reference/reference_backend.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <new>
#include <utility>

#include "backend/step_outputs.h"
#include "backend/step_thread.h"
#include "model/reference.h"

namespace carat {
namespace {

using Clock = std::chrono::steady_clock;

double physical_memory_bytes() {
  return static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGE_SIZE));
}

// keys, values: [layer][page][P][K * E]
struct PagedStore {
  size_t row = 0;  // K * E
  std::vector<std::vector<float>> keys, values;

  uint64_t bytes() const {
    uint64_t total = 0;
    for (const auto& layer : keys) total += 2 * layer.size() * sizeof(float);
    return total;
  }
};

// One sequence's view of the store, by the page tables of a step.
class PagedKv final : public ReferenceKv {
 public:
  PagedKv(const ModelConfig& config, PagedStore& store, const SeqRows& seq)
      : config_(config), store_(store), seq_(seq) {}

  std::span<float> key(int32_t layer, int32_t position) override { return row_of(store_.keys, layer, position); }
  std::span<float> value(int32_t layer, int32_t position) override { return row_of(store_.values, layer, position); }

 private:
  std::span<float> row_of(std::vector<std::vector<float>>& rows, int32_t layer, int32_t position) const {
    const auto index = static_cast<size_t>(position / kPageTokens);
    const int32_t page = config_.is_global[static_cast<size_t>(layer)]
                             ? seq_.global_pages[index]
                             : seq_.local_pages[index % seq_.local_pages.size()];
    const size_t slot = static_cast<size_t>(page) * kPageTokens + static_cast<size_t>(position % kPageTokens);
    std::vector<float>& layer_rows = rows[static_cast<size_t>(layer)];
    CARAT_ASSERT((slot + 1) * store_.row <= layer_rows.size());
    return std::span(layer_rows).subspan(slot * store_.row, store_.row);
  }

  const ModelConfig& config_;
  PagedStore& store_;
  const SeqRows& seq_;
};

class ReferenceBackend final : public Backend {
 public:
  ReferenceBackend(const ModelConfig& config, const Weights& weights)
      : config_(config), reference_(config, weights), maps_(weights.maps) {
    info_.name = "reference";
    info_.threads = 1;
    const auto stage_bytes = [&](Stage stage) -> uint64_t& { return weight_bytes_[static_cast<size_t>(stage)]; };
    for (const LayerWeights& w : weights.layers) {
      stage_bytes(Stage::kQkv) += w.q.data.size() + w.k.data.size() + w.v.data.size();
      stage_bytes(Stage::kAttnOut) += w.attn_out.data.size();
      stage_bytes(Stage::kGateUp) += w.gate.data.size() + w.up.data.size();
      stage_bytes(Stage::kDown) += w.down.data.size();
    }
    const TensorView& head = weights.head_or_embedding();
    stage_bytes(Stage::kLogits) = head.row_bytes() * static_cast<size_t>(config.vocabulary);
    for (const uint64_t bytes : weight_bytes_) info_.decode_bytes += bytes;
    info_.weight_bytes = info_.decode_bytes;  // mapped, not owned
    reference_.set_tap([this](Stage stage, int32_t, std::span<const float>) { charge(stage); });
  }

  BackendInfo info() const override {
    BackendInfo info = info_;
    info.kv_bytes = store_.bytes();
    return info;
  }

  Status reserve_kv(const KvPlan& plan) override {
    CARAT_ASSERT(thread_.idle());
    plan_ = plan;
    slots_.assign(static_cast<size_t>(plan.slots), 0);
    store_ = {};
    store_.row = static_cast<size_t>(config_.kv_heads) * static_cast<size_t>(config_.head_size);
    std::vector<size_t> floats;  // of keys, and as many of values, by layer
    double bytes = 0;
    for (const bool is_global : config_.is_global) {
      const int32_t pages = is_global ? plan.global_pages : plan.local_pages;
      floats.push_back(static_cast<size_t>(pages) * kPageTokens * store_.row);
      bytes += 2 * sizeof(float) * static_cast<double>(floats.back());
    }
    const Error too_large{
        ErrorCode::kOutOfMemory,
        fmt::format("not enough memory for a KV cache of {:.0f} MB: {} global and {} sliding pages of "
                    "{} tokens in float32",
                    bytes / 1e6, plan.global_pages, plan.local_pages, kPageTokens)};
    // Asked first, since Linux promises memory that it does not have and then ends whoever uses it.
    if (bytes > physical_memory_bytes()) return too_large;
    try {
      for (const size_t count : floats) {
        store_.keys.emplace_back(count, std::numeric_limits<float>::quiet_NaN());
        store_.values.emplace_back(count, std::numeric_limits<float>::quiet_NaN());
      }
    } catch (const std::bad_alloc&) {
      store_ = {};
      return too_large;
    }
    return {};
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
      times_[stage].seconds += half.times[stage].seconds;
      times_[stage].weight_bytes += half.times[stage].weight_bytes;
    }
    return half.outputs.result(half.logits, half.hidden);
  }

  std::array<StageTime, kStageCount> stage_times() override { return std::exchange(times_, {}); }

 private:
  struct Half {  // of a step in flight
    Step step;
    StepOutputs outputs;
    std::vector<float> logits, hidden;
    std::array<StageTime, kStageCount> times{};
  };

  void copy_page(const PageCopy& copy) {
    const size_t page = kPageTokens * store_.row;
    for (size_t layer = 0; layer < config_.is_global.size(); ++layer) {
      if (config_.is_global[layer] != copy.global) continue;
      for (auto* rows : {&store_.keys[layer], &store_.values[layer]}) {
        std::copy_n(rows->begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(copy.from) * page), page,
                    rows->begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(copy.to) * page));
      }
    }
  }

  // The rows of one sequence, slots resolved: hidden states [rows][D].
  std::vector<float> compute(const Step& step, const SeqRows& seq) {
    std::vector<Row> rows;
    for (int32_t r = seq.begin; r < seq.end; ++r) {
      rows.push_back(step.rows[static_cast<size_t>(r)]);
      rows.back().token = resolved(rows.back().token);
    }
    PagedKv kv(config_, store_, seq);
    return reference_.hidden({rows, seq.past, step.embeddings}, kv);
  }

  int32_t resolved(int32_t token) const {
    return (token & kFromSlot) != 0 ? slots_[static_cast<size_t>(token - kFromSlot)] : token;
  }

  Status run(Half& half) {
    const Step& step = half.step;
    running_ = &half;
    half.times = {};
    last_mark_ = Clock::now();
    for (const PageCopy& copy : step.copies) copy_page(copy);
    std::vector<float> all;  // [T][D]
    for (const SeqRows& seq : step.seqs) {
      const std::vector<float> x = compute(step, seq);
      all.insert(all.end(), x.begin(), x.end());
    }
    const std::vector<float> wanted = rows_of(all, half.outputs.logits_rows());
    half.hidden = rows_of(all, half.outputs.hidden_rows());
    half.logits = wanted.empty() ? wanted : reference_.logits(wanted);
    bar_ids(config_, half.logits);
    sample(half);
    charge(Stage::kSample);
    return whole(maps_);
  }

  std::vector<float> rows_of(std::span<const float> all, std::span<const int32_t> rows) const {
    const auto width = static_cast<size_t>(config_.width);
    std::vector<float> out;
    for (const int32_t row : rows) {
      const auto values = all.subspan(static_cast<size_t>(row) * width, width);
      out.insert(out.end(), values.begin(), values.end());
    }
    return out;
  }

  void sample(Half& half) {
    const auto vocabulary = static_cast<size_t>(config_.vocabulary);
    for (size_t i = 0; i < half.outputs.samples().size(); ++i) {
      const auto& [output, row_index] = half.outputs.samples()[i];
      const int32_t own = resolved(half.step.rows[static_cast<size_t>(output.row)].token);
      const auto logits = std::span(half.logits).subspan(row_index * vocabulary, vocabulary);
      half.outputs.sampled()[i] = sampler_.sample(logits, output.sample, own < kImageRow ? own : -1);
    }
    for (size_t i = 0; i < half.outputs.samples().size(); ++i) {
      const int32_t slot = half.outputs.samples()[i].output.slot;
      if (slot >= 0) slots_[static_cast<size_t>(slot)] = std::max(0, half.outputs.sampled()[i].token);
    }
  }

  // The time since the last tap belongs to the stage that now ends.
  void charge(Stage stage) {
    const Clock::time_point now = Clock::now();
    StageTime& time = running_->times[static_cast<size_t>(stage)];
    time.seconds += std::chrono::duration<double>(now - last_mark_).count();
    const bool per_layer = stage != Stage::kEmbed && stage < Stage::kLogits;
    const uint64_t divisor = per_layer ? static_cast<uint64_t>(config_.layers) : 1;
    time.weight_bytes += weight_bytes_[static_cast<size_t>(stage)] / divisor;
    last_mark_ = now;
  }

  ModelConfig config_;
  ReferenceForward reference_;
  FileMaps maps_;
  BackendInfo info_;
  PagedStore store_;
  KvPlan plan_;
  std::vector<int32_t> slots_;
  Sampler sampler_;
  std::array<Half, 2> halves_;
  Half* running_ = nullptr;  // the thread's own, as last_mark_ is
  Clock::time_point last_mark_;
  std::array<StageTime, kStageCount> times_{};
  std::array<uint64_t, kStageCount> weight_bytes_{};
  StepThread thread_{[this](int half) { return run(halves_[static_cast<size_t>(half)]); }};  // last: it ends first
};

}  // namespace

MemoryNeed reference_memory_need(const ModelConfig& config, const Weights& weights, int32_t max_rows) {
  MemoryNeed need;
  for (const LayerWeights& w : weights.layers) {
    for (const TensorView* tensor : {&w.q, &w.k, &w.v, &w.attn_out, &w.gate, &w.up, &w.down}) {
      need.weights += tensor->data.size();
    }
  }
  need.weights += weights.embedding.data.size() + weights.head.data.size();
  const uint64_t layer_page =
      uint64_t{2} * sizeof(float) * kPageTokens * static_cast<uint64_t>(config.kv_heads * config.head_size);
  for (const bool global : config.is_global) (global ? need.global_page : need.local_page) += layer_page;
  const int64_t row = int64_t{4} * config.width + int64_t{2} * config.ffn_width +
                      int64_t{3} * (config.heads + 2 * config.kv_heads) * config.head_size;
  need.activations = static_cast<uint64_t>(max_rows * row) * sizeof(float);
  need.logits_row = 2 * sizeof(float) * static_cast<uint64_t>(config.vocabulary);
  return need;
}

std::unique_ptr<Backend> create_reference_backend(const ModelConfig& config, const Weights& weights) {
  return std::make_unique<ReferenceBackend>(config, weights);
}

}  // namespace carat
