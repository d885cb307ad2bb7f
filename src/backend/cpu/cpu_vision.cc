#include "backend/cpu/cpu_vision.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>

#include "backend/cpu/arena.h"
#include "backend/cpu/pack_matrix.h"
#include "backend/cpu/vision_pack.h"
#include "base/checked.h"
#include "base/threads.h"
#include "base/topology.h"

namespace carat::cpu {
namespace {

constexpr int64_t kPeakRounds = 5'000'000;

size_t to_size(int64_t value) { return static_cast<size_t>(value); }

int workers_of(const BackendOptions& options) { return options.threads > 0 ? options.threads : usable_cores(); }

VisionPack shape_of(const VisionConfig& c) {
  VisionPack pack{};
  pack.layers = c.layers;
  pack.width = c.width;
  pack.ffn_width = c.ffn_width;
  pack.heads = c.heads;
  pack.head_size = c.head_size();
  pack.image_size = c.image_size;
  pack.patch_size = c.patch_size;
  pack.side = c.side();
  pack.token_side = c.token_side();
  pack.text_width = c.text_width;
  pack.norm_epsilon = c.norm_epsilon;
  pack.query_scale = 1 / std::sqrt(static_cast<float>(c.head_size()));
  return pack;
}

// Enough pieces that the last ones keep every worker busy, few enough that the weights are read seldom. The bits do not
// depend on it.
int64_t tile_rows(const VisionPack& m, int workers) {
  const int64_t even = m.patches() / (int64_t{8} * workers) / 12 * 12;
  return std::clamp<int64_t>(even, 24, kVisionMostTileRows);
}

// Pieces of one arena: what they are is said once, and done twice, first to count and then to place them.
class Carver {
 public:
  explicit Carver(uint8_t* base) : base_(base) {}
  template <class T>
  void take(T*& pointer, int64_t count) {
    const size_t offset = layout_.add<T>(to_size(count));
    if (base_ != nullptr) pointer = reinterpret_cast<T*>(base_ + offset);
  }
  void take(Activations& x, int64_t rows, int64_t columns) {
    x.columns = columns;
    take(x.values, rows * columns);
    take(x.ints, rows * columns);
    take(x.scales, rows * (columns / kBlock + 1));
    take(x.sums, rows * (columns / 16 + 1));
  }
  size_t bytes() const { return layout_.bytes(); }

 private:
  uint8_t* base_;
  Layout layout_;
};

void carve(Carver& from, const VisionConfig& config, const VisionPack& m, int64_t tile, VisionContext& context,
           std::vector<VisionScratch>& scratch) {
  from.take(context.hidden, m.patches() * m.width);
  from.take(context.query, m.patches() * m.width);
  from.take(context.keys, m.heads * m.key_groups() * VisionPack::kGroup * m.head_size);
  from.take(context.values, m.heads * m.patches() * m.value_columns());
  for (VisionScratch& s : scratch) {
    from.take(s.patches, tile, config.patch_columns());
    from.take(s.wide, tile, m.width);
    from.take(s.tall, tile, m.ffn_width);
    from.take(s.sums, tile * kPanelRows);
    from.take(s.out, tile * m.width);
    from.take(s.scores, kVisionQueryRows * m.score_stride());
    from.take(s.queries, kVisionQueryRows * m.head_size);
    from.take(s.mixed, kVisionQueryRows * m.value_columns());
    from.take(s.widened, int64_t{kWideColumns} * kWidePanels * kPanelRows);
    from.take(s.panel, kPanelScratchBytes);
  }
}

size_t working_bytes(const VisionConfig& config, int workers) {
  const VisionPack m = shape_of(config);
  VisionContext context{};
  std::vector<VisionScratch> scratch(to_size(workers));
  Carver count(nullptr);
  carve(count, config, m, tile_rows(m, workers), context, scratch);
  return count.bytes();
}

// Where every matrix of a tower goes: f(from, to) for each of them, until one fails.
template <class F>
Status each_matrix(const VisionWeights& w, VisionPack& pack, std::vector<VisionLayerPack>& layers, const F& f) {
  CARAT_CHECK(f(w.patch.weight, pack.patch.weight));
  for (size_t i = 0; i < w.layers.size(); ++i) {
    const VisionLayer& from = w.layers[i];
    VisionLayerPack& to = layers[i];
    CARAT_CHECK(f(from.q.weight, to.q.weight));
    CARAT_CHECK(f(from.k.weight, to.k.weight));
    CARAT_CHECK(f(from.v.weight, to.v.weight));
    CARAT_CHECK(f(from.out.weight, to.out.weight));
    CARAT_CHECK(f(from.fc1.weight, to.fc1.weight));
    CARAT_CHECK(f(from.fc2.weight, to.fc2.weight));
  }
  return {};
}

class CpuVision final : public VisionEncoder {
 public:
  CpuVision(const Kernels& kernels, std::unique_ptr<Team> team, std::shared_ptr<const VisionTower> tower)
      : kernels_(kernels), team_(std::move(team)), tower_(std::move(tower)), pack_(shape_of(tower_->config)) {}

  Status load() {
    const VisionConfig& c = tower_->config;
    for (const auto& [name, value] : {std::pair{"width", c.width},
                                      {"ffn width", c.ffn_width},
                                      {"number of patches", c.patches()},
                                      {"text width", c.text_width}}) {
      if (value % kPanelRows == 0) continue;
      return Error{ErrorCode::kUnsupported, fmt::format("the vision tower's {} is {}; the CPU backend takes multiples "
                                                        "of {}",
                                                        name, value, kPanelRows)};
    }
    CARAT_CHECK(pack());
    bytes_ += working_bytes(c, team_->workers());
    context_.model = &pack_;
    context_.team = team_.get();
    context_.tile = tile_rows(pack_, team_->workers());
    scratch_.resize(to_size(team_->workers()));
    CARAT_TRY(memory_, Arena::allocate(working_bytes(c, team_->workers()), "the vision tower's working memory"));
    Carver place(memory_.data());
    carve(place, c, pack_, context_.tile, context_, scratch_);
    context_.scratch = scratch_.data();
    return {};
  }

  Result<std::vector<float>> encode(std::span<const float> pixels, const std::function<bool()>& cancelled,
                                    std::vector<float>* hidden) override {
    CARAT_CHECK(check_pixels(tower_->config, pixels));
    std::vector<float> features(to_size(tower_->config.tokens) * to_size(tower_->config.text_width));
    context_.pixels = pixels.data();
    context_.features = features.data();
    cancelled_ = &cancelled;
    stopped_ = false;
    context_.cancelled = [](void* self) { return static_cast<CpuVision*>(self)->stops(); };
    context_.user = this;
    team_->run([](void* self, int worker) { static_cast<CpuVision*>(self)->run(worker); }, this);
    if (stopped_) return Error{ErrorCode::kCancelled, "the picture was given up"};
    if (hidden != nullptr) hidden->assign(context_.hidden, context_.hidden + pack_.patches() * pack_.width);
    CARAT_CHECK(check_features(features));
    return features;
  }

  std::string name() const override { return kernels_.name; }
  uint64_t bytes() const override { return bytes_; }

  double peak_operations() override {
    const auto start = std::chrono::steady_clock::now();
    team_->run([](void* self, int) { static_cast<CpuVision*>(self)->kernels_.multiply_add(kPeakRounds); }, this);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return static_cast<double>(kPeakRounds) * kPeakOperations * team_->workers() / seconds;
  }

 private:
  void run(int worker) { kernels_.vision(context_, worker); }

  // Once one worker has stopped, all do.
  bool stops() {
    if (!stopped_ && *cancelled_ && (*cancelled_)()) stopped_ = true;
    return stopped_;
  }

  const float* keep(std::vector<float> values) {
    vectors_.push_back(std::move(values));
    return vectors_.back().data();
  }
  const float* vector(const TensorView& tensor) { return keep(vector_values(tensor)); }
  VisionNormPack norm(const Affine& from) { return {vector(from.weight), vector(from.bias)}; }

  Status pack() {
    const VisionWeights& w = tower_->weights;
    layers_.resize(w.layers.size());
    pack_.layer = layers_.data();
    pack_.patch.bias = vector(w.patch.bias);
    for (size_t i = 0; i < layers_.size(); ++i) {
      const VisionLayer& from = w.layers[i];
      VisionLayerPack& to = layers_[i];
      to.norm_1 = norm(from.norm_1);
      to.norm_2 = norm(from.norm_2);
      to.q.bias = vector(from.q.bias);
      to.k.bias = vector(from.k.bias);
      to.v.bias = vector(from.v.bias);
      to.out.bias = vector(from.out.bias);
      to.fc1.bias = vector(from.fc1.bias);
      to.fc2.bias = vector(from.fc2.bias);
    }
    pack_.position = vector(w.position);
    pack_.post_norm = norm(w.post_norm);
    pack_.soft_norm = keep(soft_norm_values(*tower_));
    pack_.projection.bias = keep(std::vector<float>(to_size(pack_.text_width)));

    // A projection that lies transposed is turned, in float32.
    TensorView projection = w.projection;
    std::vector<float> turned;
    if (w.projection_transposed) {
      turned = projection_values(*tower_);
      projection = {w.projection.name, DType::kF32, pack_.text_width, pack_.width, std::as_bytes(std::span(turned))};
    }
    const auto describe = [&](const TensorView& tensor, PackedMatrix& matrix) -> Status {
      CARAT_TRY(matrix, describe_packed(tensor, tensor.rows));
      bytes_ += round_up<size_t>(matrix.bytes(), 64);
      return {};
    };
    CARAT_CHECK(each_matrix(w, pack_, layers_, describe));
    CARAT_CHECK(describe(projection, pack_.projection.weight));
    CARAT_TRY(weights_, Arena::allocate(bytes_, "the vision tower"));
    size_t offset = 0;
    std::vector<PackJob> jobs;
    const auto place = [&](const TensorView& tensor, PackedMatrix& matrix) -> Status {
      matrix.data = weights_.data() + offset;
      offset += round_up<size_t>(matrix.bytes(), 64);
      jobs.push_back({&tensor, &matrix});
      return {};
    };
    CARAT_CHECK(each_matrix(w, pack_, layers_, place));
    CARAT_CHECK(place(projection, pack_.projection.weight));
    return pack_matrices(kernels_, *team_, jobs, false);
  }

  const Kernels& kernels_;
  const std::unique_ptr<Team> team_;
  const std::shared_ptr<const VisionTower> tower_;
  VisionPack pack_;
  std::vector<VisionLayerPack> layers_;
  std::vector<std::vector<float>> vectors_;
  std::vector<VisionScratch> scratch_;
  VisionContext context_{};
  const std::function<bool()>* cancelled_ = nullptr;
  std::atomic<bool> stopped_{false};
  Arena weights_, memory_;
  uint64_t bytes_ = 0;  // of both
};

}  // namespace

Result<std::unique_ptr<VisionEncoder>> create_cpu_vision(const Kernels& kernels, const BackendOptions& options,
                                                         std::shared_ptr<const VisionTower> tower) {
  CARAT_TRY(auto team, Team::create(workers_of(options)));
  const VisionTower& from = *tower;
  auto vision = std::make_unique<CpuVision>(kernels, std::move(team), std::move(tower));
  CARAT_CHECK(vision->load());
  CARAT_CHECK(whole(from.maps));
  return std::unique_ptr<VisionEncoder>(std::move(vision));
}

Result<uint64_t> cpu_vision_bytes(const BackendOptions& options, const VisionTower& tower) {
  uint64_t bytes = working_bytes(tower.config, workers_of(options));
  VisionPack pack{};
  std::vector<VisionLayerPack> layers(tower.weights.layers.size());
  const auto add = [&](const TensorView& tensor, PackedMatrix& matrix) -> Status {
    CARAT_TRY(matrix, describe_packed(tensor, tensor.rows));
    bytes += round_up<size_t>(matrix.bytes(), 64);
    return {};
  };
  CARAT_CHECK(each_matrix(tower.weights, pack, layers, add));
  const TensorView& projection = tower.weights.projection;
  if (tower.weights.projection_transposed) return bytes + to_size(projection.elements()) * sizeof(float);
  if (projection.rows == 0) return bytes;
  PackedMatrix matrix;
  CARAT_CHECK(add(projection, matrix));
  return bytes;
}

}  // namespace carat::cpu
