#include "backend/reference/reference_backend.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <limits>
#include <new>
#include <utility>

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
  ReferenceBackend(const ModelConfig& config, const Weights& weights) : config_(config), reference_(config, weights) {
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

  Ticket submit(const Step& step) override {
    const Ticket ticket = next_ticket_++;
    std::vector<float>& logits = logits_[ticket % logits_.size()];
    logits.clear();
    last_mark_ = Clock::now();
    for (const SeqRows& seq : step.seqs) {
      std::vector<int32_t> wanted;  // rows of this sequence, counted from its first
      for (const int32_t row : step.logits_rows) {
        if (row >= seq.begin && row < seq.end) wanted.push_back(row - seq.begin);
      }
      PagedKv kv(config_, store_, seq);
      const auto tokens = step.tokens.subspan(static_cast<size_t>(seq.begin), static_cast<size_t>(seq.end - seq.begin));
      const std::vector<float> rows = reference_.forward(tokens, seq.past, wanted, kv);
      logits.insert(logits.end(), rows.begin(), rows.end());
    }
    return ticket;
  }

  std::span<const float> wait(Ticket ticket) override {
    CARAT_ASSERT(ticket < next_ticket_ && ticket + logits_.size() >= next_ticket_);
    return logits_[ticket % logits_.size()];
  }

  std::array<StageTime, kStageCount> stage_times() override { return std::exchange(times_, {}); }

 private:
  // The time since the last tap belongs to the stage that now ends.
  void charge(Stage stage) {
    const Clock::time_point now = Clock::now();
    StageTime& time = times_[static_cast<size_t>(stage)];
    time.seconds += std::chrono::duration<double>(now - last_mark_).count();
    const bool per_layer = stage != Stage::kEmbed && stage != Stage::kLogits;
    const uint64_t divisor = per_layer ? static_cast<uint64_t>(config_.layers) : 1;
    time.weight_bytes += weight_bytes_[static_cast<size_t>(stage)] / divisor;
    last_mark_ = now;
  }

  ModelConfig config_;
  ReferenceForward reference_;
  BackendInfo info_;
  PagedStore store_;
  std::array<std::vector<float>, 3> logits_;  // a result outlives one more submit()
  Ticket next_ticket_ = 0;
  Clock::time_point last_mark_;
  std::array<StageTime, kStageCount> times_{};
  std::array<uint64_t, kStageCount> weight_bytes_{};
};

}  // namespace

std::unique_ptr<Backend> create_reference_backend(const ModelConfig& config, const Weights& weights) {
  return std::make_unique<ReferenceBackend>(config, weights);
}

}  // namespace carat
