#include "backend/own_head.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/threads.h"
#include "base/topology.h"
#include "formats/dequant.h"
#include "formats/quantize.h"

namespace carat {
namespace {

// Memory that keeps what it holds when whoever has packed it lets its pages go, as those of a file would.
class SharedBytes {
 public:
  SharedBytes() = default;
  SharedBytes(const SharedBytes&) = delete;
  SharedBytes& operator=(const SharedBytes&) = delete;
  ~SharedBytes() { free(); }

  Status allocate(size_t bytes) {
    void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
      return Error{ErrorCode::kOutOfMemory, fmt::format("cannot get {} MiB of memory for the head", bytes >> 20)};
    }
    bytes_ = {static_cast<std::byte*>(data), bytes};
    return {};
  }
  void free() {
    if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
    bytes_ = {};
  }
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

// Rows [first, last) of `count` that are this worker's.
struct Share {
  int64_t first, last;
  Share(int64_t count, int worker, int workers)
      : first(count * worker / workers), last(count * (worker + 1) / workers) {}
};

// Quantises the rows of a table into another one.
struct Requantise {
  const TensorView* from;
  TensorView* to;
  std::byte* out;
  int workers;
  std::vector<int64_t> bad;  // [workers]: the first row that no type holds, or none

  static void run(void* argument, int worker) {
    auto& self = *static_cast<Requantise*>(argument);
    const auto columns = static_cast<size_t>(self.from->columns);
    std::vector<float> row(columns);
    const Share share(self.to->rows, worker, self.workers);
    for (int64_t i = share.first; i < share.last; ++i) {
      dequantize(self.from->type, self.from->row(i), row.data(), self.from->columns);
      if (!std::all_of(row.begin(), row.end(), [](float x) { return std::abs(x) <= 65504; })) {
        self.bad[static_cast<size_t>(worker)] = i;
        return;
      }
      quantize(self.to->type, row.data(), self.out + static_cast<size_t>(i) * self.to->row_bytes(), self.to->columns);
    }
  }
};

// The beginning of a story, in the ids of Gemma's vocabulary.
constexpr std::array kText = {818,   2255,   63937, 64222,  54264, 506,   12019, 31393, 1418,   9137,   236764,
                              10035, 506,    15123, 236764, 532,   19061, 506,   19916, 1786,   236761, 799,
                              7208,  236764, 1056,  48312,  3588,  699,   506,   8339,  236764, 668};
constexpr size_t kUnmeasured = 16;  // tokens without enough before them
constexpr size_t kMeasured = kText.size() - kUnmeasured;

// Of all measured positions: sums over tokens for two sets of logits, p (the file's head) and q.
struct Divergence {
  std::array<double, kMeasured> top_p, top_q, sum_p, sum_q, sum_pd;  // pd: of e^p (p - q)

  Divergence() {
    top_p.fill(-INFINITY);
    top_q.fill(-INFINITY);
    sum_p.fill(0);
    sum_q.fill(0);
    sum_pd.fill(0);
  }
  void add(size_t i, double p, double q) { add(i, p, 1, p - q, q, 1); }
  void add(const Divergence& other) {
    for (size_t i = 0; i < kMeasured; ++i) {
      if (other.sum_p[i] == 0) continue;
      add(i, other.top_p[i], other.sum_p[i], other.sum_pd[i] / other.sum_p[i], other.top_q[i], other.sum_q[i]);
    }
  }
  double mean() const {
    double total = 0;
    for (size_t i = 0; i < kMeasured; ++i) {
      total += sum_pd[i] / sum_p[i] - (top_p[i] + std::log(sum_p[i])) + (top_q[i] + std::log(sum_q[i]));
    }
    return total / kMeasured;
  }

 private:
  void add(size_t i, double p, double weight_p, double difference, double q, double weight_q) {
    const double top = std::max(p, top_p[i]);
    const double before = std::exp(top_p[i] - top);
    const double now = weight_p * std::exp(p - top);
    sum_p[i] = sum_p[i] * before + now;
    sum_pd[i] = sum_pd[i] * before + now * difference;
    top_p[i] = top;
    const double other = std::max(q, top_q[i]);
    sum_q[i] = sum_q[i] * std::exp(top_q[i] - other) + weight_q * std::exp(q - other);
    top_q[i] = other;
  }
};

// Goes through both heads row after row, all positions at once.
struct Compare {
  const TensorView *file, *own;
  const float* hidden;  // [D][kMeasured]
  int workers;
  std::vector<Divergence> found;  // [workers]

  static void run(void* argument, int worker) {
    auto& self = *static_cast<Compare*>(argument);
    std::vector<float> row(static_cast<size_t>(self.file->columns));
    const auto products = [&](const TensorView& head, int64_t i, float* out) {
      dequantize(head.type, head.row(i), row.data(), head.columns);
      std::fill_n(out, kMeasured, 0.0f);
      const float* x = self.hidden;
      for (const float w : row) {
        for (size_t t = 0; t < kMeasured; ++t) out[t] += w * x[t];
        x += kMeasured;
      }
    };
    const Share share(self.own->rows, worker, self.workers);
    for (int64_t i = share.first; i < share.last; ++i) {
      float p[kMeasured], q[kMeasured];
      products(*self.file, i, p);
      products(*self.own, i, q);
      for (size_t t = 0; t < kMeasured; ++t) {
        self.found[static_cast<size_t>(worker)].add(t, static_cast<double>(p[t]), static_cast<double>(q[t]));
      }
    }
  }
};

// The states after the final norm for the text, [D][kMeasured].
Result<std::vector<float>> states_of_text(Backend& backend, const ModelConfig& config) {
  CARAT_CHECK(backend.reserve_kv({1, 1, static_cast<int32_t>(kText.size()), 1}));
  static_assert(kText.size() <= kPageTokens);
  const int32_t page = 0;
  std::vector<Row> rows;
  std::vector<Output> outputs;
  for (size_t i = 0; i < kText.size(); ++i) {
    const auto position = static_cast<int32_t>(i);
    rows.push_back({kText[i] % config.vocabulary, position});
    if (i < kUnmeasured) continue;
    Output output;
    output.row = position;
    output.kind = OutputKind::kHidden;
    outputs.push_back(output);
  }
  const SeqRows seq{0, static_cast<int32_t>(kText.size()), 0, {&page, 1}, {&page, 1}};
  CARAT_TRY(const auto ticket, backend.submit({rows, {&seq, 1}, outputs, {}, {}}));
  CARAT_TRY(const StepResult result, backend.wait(ticket));
  const auto width = static_cast<size_t>(config.width);
  std::vector<float> states(width * kMeasured);
  for (size_t t = 0; t < kMeasured; ++t) {
    for (size_t d = 0; d < width; ++d) states[d * kMeasured + t] = result.hidden[t][d];
  }
  return states;
}

// Any backend, that says what its head is.
class WithOwnHead final : public Backend {
 public:
  std::unique_ptr<Backend> backend;
  SharedBytes bytes;
  Weights weights;
  std::string note;

  BackendInfo info() const override {
    BackendInfo out = backend->info();
    out.note = note;
    return out;
  }
  Status reserve_kv(const KvPlan& plan) override { return backend->reserve_kv(plan); }
  Result<Ticket> submit(const Step& step) override { return backend->submit(step); }
  Result<StepResult> wait(Ticket ticket) override { return backend->wait(ticket); }
  std::array<StageTime, kStageCount> stage_times() override { return backend->stage_times(); }
};

}  // namespace

Result<Weights> with_head_type(const ModelConfig& config, const Weights& weights, DType type) {
  const TensorView& table = weights.head_or_embedding();
  const DTypeInfo& info = dtype_info(type);
  if (table.columns % info.block_elements != 0) {
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("--head-type {}: a row of {} is no whole blocks of {}; q4_0, q5_0 and q8_0 have blocks of 32",
                    info.name, table.columns, info.block_elements)};
  }
  Weights out = weights;
  out.head = {fmt::format("{} as {}", table.name, info.name), type, config.vocabulary, table.columns, {}};
  const auto bytes = dtype_bytes(type, static_cast<uint64_t>(out.head.elements()));
  out.head.data = {static_cast<const std::byte*>(nullptr), *bytes};
  return out;
}

Result<std::unique_ptr<Backend>> create_with_own_head(const ModelConfig& config, const Weights& weights, DType type,
                                                      int threads, bool keeps, const CreateBackend& create) {
  const TensorView& table = weights.head_or_embedding();
  auto out = std::make_unique<WithOwnHead>();
  CARAT_TRY(out->weights, with_head_type(config, weights, type));
  TensorView& head = out->weights.head;
  CARAT_CHECK(out->bytes.allocate(head.data.size()));
  head.data = out->bytes.bytes();

  CARAT_TRY(const auto team, Team::create(threads > 0 ? threads : usable_cores()));
  team->insist();
  const int workers = team->workers();
  Requantise requantise{&table, &head, out->bytes.bytes().data(), workers,
                        std::vector<int64_t>(static_cast<size_t>(workers), -1)};
  team->run(&Requantise::run, &requantise);
  for (const int64_t row : requantise.bad) {
    if (row >= 0) return not_finite(table, row);
  }
  CARAT_TRY(out->backend, create(out->weights));

  CARAT_TRY(const std::vector<float> states, states_of_text(*out->backend, config));
  Compare compare{&table, &head, states.data(), workers, std::vector<Divergence>(static_cast<size_t>(workers))};
  team->run(&Compare::run, &compare);
  Divergence all;
  for (const Divergence& part : compare.found) all.add(part);
  out->note = fmt::format("the head is {} instead of {}: mean KL divergence {:.1e} over {} tokens of English",
                          dtype_info(type).name, dtype_info(table.type).name, all.mean(), kMeasured);
  if (!keeps) out->bytes.free();
  return std::unique_ptr<Backend>(std::move(out));
}

}  // namespace carat
