#include "backend/cuda/cuda_vision.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "backend/cuda/vision_weights.h"
#include "base/checked.h"
#include "base/file_map.h"
#include "base/threads.h"
#include "base/topology.h"

namespace carat::cuda {
namespace {

constexpr float kLog2e = 1.44269504088896341f;
constexpr float kLargest = 60000;  // of a half, with some room
constexpr int kCopiers = 4;        // threads that copy a picture's pixels

enum VisionStage { kPatches, kNorms, kHeads, kAttention, kOut, kFc1, kFc2, kTokens };
constexpr const char* kStageNames[] = {"patches", "norms", "qkv", "attention", "out", "fc1", "fc2", "tokens"};

size_t to_size(int64_t value) { return static_cast<size_t>(value); }

// A power of two that keeps what is not larger than `bound` within a half.
float half_scale(float bound) {
  if (!(bound > kLargest)) return 1;
  return std::ldexp(1.0f, -static_cast<int>(std::ceil(std::log2(bound / kLargest))));
}

// Where everything that one image needs lies.
struct Working {
  size_t pixels, hidden, patches, narrow, tall, queries, keys, floats, sums, features, bytes;
  size_t planes_at, scales_at, sums_at, factors_at;  // of rounded rows
  int64_t query_plane, key_plane;
  int32_t half_planes, head_planes;
  int32_t rows, padded;  // patches, filled up to whole tiles
};

int32_t stages_of(int64_t columns) { return static_cast<int32_t>(div_ceil<int64_t>(columns, kTileColumns)) * 2; }

Working lay_out(const VisionConfig& c, TowerWeights& weights, Precision precision) {
  Working w{};
  w.rows = c.patches();
  w.padded = round_up(w.rows, kHalfRows);
  w.half_planes = w.head_planes = precision == Precision::kFast ? 1 : 2;
  bool quantised = false;
  int64_t widest = c.width, outputs = 0;
  weights.each_matrix([&](const TowerMatrix& m) {
    if (m.halves) return;
    quantised = true;
    widest = std::max<int64_t>(widest, m.tiles.chunks * int64_t{kTileColumns});
    outputs = std::max<int64_t>(outputs, m.tiles.rows);
  });
  DeviceLayout layout;
  const auto halves = [&](int64_t columns) {
    return layout.add<uint16_t>(to_size(int64_t{w.half_planes} * w.padded * stages_of(columns) * kHalfColumns));
  };
  w.pixels = layout.add<float>(c.pixels());
  w.hidden = layout.add<float>(to_size(int64_t{w.rows} * c.width));
  w.patches = halves(c.patch_columns());
  w.narrow = halves(c.width);
  w.tall = halves(c.ffn_width);
  w.query_plane = int64_t{c.heads} * w.padded / 16 * kHeadSteps * 512;
  w.key_plane = int64_t{c.heads} * w.padded / kVisionKeys * kVisionStageBytes;
  w.queries = layout.add<uint8_t>(to_size(w.query_plane * w.head_planes));
  w.keys = layout.add<uint8_t>(to_size(w.key_plane * w.head_planes));
  w.features = layout.add<float>(to_size(int64_t{c.tokens} * c.text_width));
  if (quantised) {
    const int64_t rows16 = round_up(w.rows, 16);
    w.floats = layout.add<float>(to_size(int64_t{w.rows} * widest));
    w.sums = layout.add<float>(to_size(int64_t{w.rows} * outputs));
    w.planes_at = layout.add<uint8_t>(to_size(rows16 * widest * 2));
    w.scales_at = layout.add<float>(to_size(rows16 * widest / 32));
    w.sums_at = layout.add<int32_t>(to_size(rows16 * widest / 16));
    w.factors_at = layout.add<float>(to_size(rows16));
  }
  w.bytes = layout.bytes();
  return w;
}

class CudaVision final : public VisionEncoder {
 public:
  CudaVision(std::unique_ptr<Device> device, Precision precision, std::shared_ptr<const VisionTower> tower)
      : device_(std::move(device)), precision_(precision), tower_(std::move(tower)), config_(tower_->config) {}

  Status load() {
    device_->enter();
    const DeviceFacts facts = device_->facts();
    multiprocessors_ = static_cast<uint32_t>(facts.multiprocessors);
    wide_ = facts.major == 9;
    const std::pair<const char*, Device::Kernel*> named[] = {
#define CARAT_NAMED(name, params) {#name, &kernels_.name},
        CARAT_CUDA_VISION_KERNELS(CARAT_NAMED)
#undef CARAT_NAMED
            {"round_rows", &kernels_.round_rows},
    };
    for (const auto& [name, kernel] : named) {
      CARAT_TRY(*kernel, device_->find(name));
    }
    for (size_t type = 0; type < kTileTypes; ++type) {
      CARAT_TRY(gemm_[type], device_->find(std::string("gemm_") + kTileTypeNames[type]));
    }
    CARAT_TRY(weights_, TowerWeights::load(*device_, *tower_));
    at_ = lay_out(config_, weights_, precision_);
    CARAT_TRY(memory_, DeviceMemory::allocate(*device_, at_.bytes, "the vision tower's working memory"));
    CARAT_TRY(host_, DeviceMemory::allocate_host(*device_, config_.pixels() * sizeof(float)));
    CARAT_TRY(copiers_, Team::create(std::min(usable_cores(), kCopiers)));
    device_->fill(memory_.data(), 0, at_.bytes);
    return device_->finish();
  }

  Result<std::vector<float>> encode(std::span<const float> pixels, const std::function<bool()>& cancelled,
                                    std::vector<float>* hidden) override {
    CARAT_CHECK(check_pixels(config_, pixels));
    device_->enter();
    measures_ = pictures_ < 2 || pictures_ % kMeasuredPictures == 0;
    ++pictures_;
    if (measures_) marks_.clear();
    mark(kPatches);
    upload(pixels);
    embed();
    for (const TowerLayer& l : weights_.layers) {
      if (cancelled && cancelled()) {
        CARAT_CHECK(device_->finish());
        return Error{ErrorCode::kCancelled, "the picture was given up"};
      }
      layer(l);
    }
    project();
    std::vector<float> features(to_size(int64_t{config_.tokens} * config_.text_width));
    device_->download(features.data(), floats(at_.features), features.size() * sizeof(float));
    if (hidden != nullptr) {
      hidden->resize(to_size(int64_t{at_.rows} * config_.width));
      device_->download(hidden->data(), floats(at_.hidden), hidden->size() * sizeof(float));
    }
    CARAT_CHECK(device_->finish());
    CARAT_CHECK(check_features(features));
    return features;
  }

  std::string name() const override { return "cuda"; }
  uint64_t bytes() const override { return weights_.matrix_bytes() + at_.bytes; }

  std::vector<VisionStageTime> stage_times() override {
    std::vector<VisionStageTime> times;
    for (const char* name : kStageNames) times.push_back({name, 0});
    for (size_t i = 1; i < marks_.size(); ++i) {
      times[marks_[i]].seconds += device_->seconds_between(static_cast<int>(i) - 1, static_cast<int>(i));
    }
    return times;
  }

 private:
  struct Kernels {
#define CARAT_KERNEL_HANDLE(name, params) Device::Kernel name = nullptr;
    CARAT_CUDA_VISION_KERNELS(CARAT_KERNEL_HANDLE)
#undef CARAT_KERNEL_HANDLE
    Device::Kernel round_rows = nullptr;
  };

  float* floats(size_t at) const { return reinterpret_cast<float*>(memory_.data() + at); }

  template <class Params>
  void launch(Device::Kernel kernel, const Params& params, int64_t x, int64_t y, uint32_t threads, size_t shared = 0,
              bool waits = true) {
    Launch how;
    how.grid[0] = static_cast<uint32_t>(x);
    how.grid[1] = static_cast<uint32_t>(y);
    how.threads = threads;
    how.shared_bytes = shared;
    how.early = waits && wide_ && !measures_;
    device_->launch(kernel, how, &params, sizeof params);
  }
  void mark(VisionStage stage) {
    if (!measures_ || marks_.size() >= 1000) return;
    device_->mark(static_cast<int>(marks_.size()));
    marks_.push_back(stage);
  }

  Halves halves(size_t at, int64_t columns, float bound) const {
    Halves h{};
    h.data = reinterpret_cast<uint16_t*>(memory_.data() + at);
    h.groups = at_.padded / 8;
    h.plane = int64_t{at_.padded} * stages_of(columns) * kHalfColumns;
    h.planes = at_.half_planes;
    h.scale = half_scale(bound);
    return h;
  }
  // What a matrix wants to read, written to `at` where it is halves.
  RowsOut input(const TowerMatrix& m, size_t at, int64_t columns, float bound) const {
    if (m.halves) return {halves(at, columns, bound), nullptr, 0};
    return {Halves{}, floats(at_.floats), static_cast<int32_t>(columns)};
  }

  // One matrix: `p` says what becomes of its products.
  void product(HalfKind kind, const TowerMatrix& m, const RowsOut& x, int32_t rows, HalfGemmParams p) {
    const auto k = static_cast<size_t>(kind);
    p.rows = rows;
    p.outputs = m.tiles.rows;
    p.bias = m.bias;
    p.output_tiles = div_ceil(m.tiles.groups, kHalfGroups);
    p.factor = 1;
    if (m.halves) {
      p.x = x.halves.data;
      p.x_plane = x.halves.plane;
      p.x_groups = x.halves.groups;
      p.w = m.tiles.data;
      p.w_plane = m.plane;
      p.w_groups = m.tiles.groups;
      p.stages = 2 * m.tiles.chunks;
      p.passes = x.halves.planes == 1 ? 1 : m.planes == 1 ? 2 : 3;
      p.factor = 1 / (m.scale * x.halves.scale);
      const Device::Kernel wide[] = {kernels_.half_wide_kStore,    kernels_.half_wide_kAdd,
                                     kernels_.half_wide_kGelu,     kernels_.half_wide_kGelu2,
                                     kernels_.half_wide_kGeluRows, kernels_.half_wide_kHeads};
      const Device::Kernel narrow[] = {kernels_.half_narrow_kStore,    kernels_.half_narrow_kAdd,
                                       kernels_.half_narrow_kGelu,     kernels_.half_narrow_kGelu2,
                                       kernels_.half_narrow_kGeluRows, kernels_.half_narrow_kHeads};
      const int32_t padded = round_up(rows, kHalfRows);
      p.row_tiles = padded / (wide_ ? kWideRows : kNarrowRows);
      if (wide_) {
        launch(wide[k], p, wide_grid(p.row_tiles, p.output_tiles, multiprocessors_), 1, kWideThreads,
               to_size(wide_bytes(kWideRows)));
      } else {
        launch(narrow[k], p, int64_t{p.row_tiles} * p.output_tiles, 1, kNarrowThreads,
               to_size(kNarrowStages * half_stage_bytes(kNarrowRows) + 128));
      }
      return;
    }
    Rounded rounded{};
    rounded.planes = memory_.data() + at_.planes_at;
    rounded.scales = floats(at_.scales_at);
    rounded.sums = reinterpret_cast<int32_t*>(memory_.data() + at_.sums_at);
    rounded.factors = floats(at_.factors_at);
    rounded.chunks = m.tiles.chunks;
    rounded.columns = x.stride;
    rounded.rows16 = round_up(rows, 16);
    rounded.fragments = 1;
    rounded.integers = 1;
    launch(kernels_.round_rows, RoundParams{x.floats, rounded}, rows, div_ceil(m.tiles.chunks, 2), kRowThreads);
    ProductParams q{};
    q.matrix = m.tiles;
    q.x = rounded;
    q.out = floats(at_.sums);
    q.out_stride = m.tiles.rows;
    q.group_step = 1;
    q.rows = rows;
    launch(gemm_[static_cast<size_t>(m.tiles.type)], q, div_ceil(m.tiles.groups, kGemmGroups),
           div_ceil(rows, 16 * kGemmTiles), kGemmThreads, to_size(gemm_shared_bytes(m.tiles.type)), false);
    const Device::Kernel finish[] = {kernels_.finish_kStore, kernels_.finish_kAdd,      kernels_.finish_kGelu,
                                     kernels_.finish_kGelu2, kernels_.finish_kGeluRows, kernels_.finish_kHeads};
    p.sums = q.out;
    p.sums_stride = q.out_stride;
    launch(finish[k], p, round_up(rows, kHalfRows) / 64, p.output_tiles, 128, 0, false);
  }

  // Ten megabytes, by way of pinned memory: one thread would take a millisecond for them.
  void upload(std::span<const float> pixels) {
    struct Copying {
      Team& team;
      uint8_t* to;
      const uint8_t* from;
      size_t bytes;
    } copying{*copiers_, host_.data(), reinterpret_cast<const uint8_t*>(pixels.data()), pixels.size_bytes()};
    copiers_->run(
        [](void* argument, int worker) {
          const Copying& c = *static_cast<Copying*>(argument);
          const auto share = static_cast<size_t>(worker), of = static_cast<size_t>(c.team.active());
          const size_t begin = c.bytes / of * share, end = share + 1 == of ? c.bytes : c.bytes / of * (share + 1);
          std::memcpy(c.to + begin, c.from + begin, end - begin);
        },
        &copying);
    device_->upload(memory_.data() + at_.pixels, host_.data(), pixels.size_bytes());
  }

  void embed() {
    const RowsOut x = input(weights_.patch, at_.patches, config_.patch_columns(), 1);
    PatchesParams patches{floats(at_.pixels), config_.image_size,      config_.patch_size,
                          config_.side(),     config_.patch_columns(), x};
    const int64_t octets = div_ceil(config_.patch_columns(), 8);
    launch(kernels_.vision_patches, patches, div_ceil<int64_t>(at_.rows * octets, 128), 1, 128);
    HalfGemmParams p{};
    p.out = floats(at_.hidden);
    p.base = weights_.position;
    p.out_stride = config_.width;
    product(HalfKind::kAdd, weights_.patch, x, at_.rows, p);
    mark(kPatches);
  }

  void norm(const TowerNorm& norm, const RowsOut& to) {
    launch(
        kernels_.vision_norm,
        LayerNormParams{floats(at_.hidden), norm.weight, norm.bias, at_.rows, config_.width, config_.norm_epsilon, to},
        div_ceil(at_.rows, 8), 1, 256, to_size(div_ceil(config_.width, 64) * 2048));
    mark(kNorms);
  }

  // hidden += a matrix of x.
  void add(const TowerMatrix& m, const RowsOut& x, VisionStage stage) {
    HalfGemmParams p{};
    p.out = floats(at_.hidden);
    p.base = p.out;
    p.out_stride = config_.width;
    product(HalfKind::kAdd, m, x, at_.rows, p);
    mark(stage);
  }

  void layer(const TowerLayer& l) {
    const int32_t C = config_.width, F = config_.ffn_width;
    const RowsOut x = input(l.heads, at_.narrow, C, l.norm_1.largest);
    norm(l.norm_1, x);

    // No query, key or value is longer than the longest row of their matrix times the longest input.
    const float of_heads = l.heads.length * l.norm_1.length + l.heads.largest_bias;
    VisionHeads heads{};
    heads.queries = memory_.data() + at_.queries;
    heads.keys = memory_.data() + at_.keys;
    heads.query_plane = at_.query_plane;
    heads.key_plane = at_.key_plane;
    heads.planes = at_.head_planes;
    heads.cores = wide_ ? 1 : 0;
    heads.heads = config_.heads;
    heads.patches = at_.rows;
    heads.padded = at_.padded;
    heads.key_scale = half_scale(of_heads);
    heads.query_scale = kLog2e / std::sqrt(static_cast<float>(config_.head_size())) / heads.key_scale;
    HalfGemmParams p{};
    p.heads = heads;
    product(HalfKind::kHeads, l.heads, x, at_.rows, p);
    mark(kHeads);

    const RowsOut attended = input(l.out, at_.narrow, C, of_heads);
    const VisionAttendParams attend{heads, config_.head_size(), 1 / heads.key_scale, attended};
    const bool two = at_.head_planes == 2;
    const size_t shared = to_size((two ? 2 : 1) * kVisionStages * kVisionStageBytes + 128);
    if (wide_) {
      const int32_t threads = kVisionWideThreads[two ? 1 : 0];
      launch(two ? kernels_.vision_wide_2 : kernels_.vision_wide_1, attend, div_ceil(at_.rows, threads / 2),
             config_.heads, static_cast<uint32_t>(threads), shared);
    } else {
      launch(two ? kernels_.vision_attend_2 : kernels_.vision_attend_1, attend, div_ceil(at_.rows, kVisionQueries),
             config_.heads, 128, shared);
    }
    mark(kAttention);
    add(l.out, attended, kOut);

    const RowsOut y = input(l.fc1, at_.narrow, C, l.norm_2.largest);
    norm(l.norm_2, y);
    HalfGemmParams gelu{};
    gelu.to = input(l.fc2, at_.tall, F, l.fc1.length * l.norm_2.length + l.fc1.largest_bias);
    const HalfKind kind = gelu.to.floats != nullptr    ? HalfKind::kGeluRows
                          : gelu.to.halves.planes == 2 ? HalfKind::kGelu2
                                                       : HalfKind::kGelu;
    product(kind, l.fc1, y, at_.rows, gelu);
    mark(kFc1);
    add(l.fc2, gelu.to, kFc2);
  }

  void project() {
    norm(weights_.post_norm, {Halves{}, floats(at_.hidden), config_.width});
    const float bound = std::sqrt(static_cast<float>(config_.width)) * weights_.largest_soft;
    const RowsOut x = input(weights_.projection, at_.narrow, config_.width, bound);
    launch(kernels_.vision_pool,
           PoolParams{floats(at_.hidden), weights_.soft_norm, config_.side(), config_.token_side(), config_.width, x},
           div_ceil(config_.tokens, 8), 1, 256);
    HalfGemmParams p{};
    p.out = floats(at_.features);
    p.out_stride = config_.text_width;
    product(HalfKind::kStore, weights_.projection, x, config_.tokens, p);
    mark(kTokens);
  }

  const std::unique_ptr<Device> device_;
  const Precision precision_;
  const std::shared_ptr<const VisionTower> tower_;
  const VisionConfig& config_;
  Kernels kernels_;
  std::array<Device::Kernel, kTileTypes> gemm_{};
  uint32_t multiprocessors_ = 1;
  bool wide_ = false;
  TowerWeights weights_;
  Working at_{};
  DeviceMemory memory_, host_;
  std::unique_ptr<Team> copiers_;
  std::vector<VisionStage> marks_;
  // A mark between two kernels costs as much as a small kernel: the first two pictures have them, and then one in so many.
  static constexpr uint64_t kMeasuredPictures = 32;
  uint64_t pictures_ = 0;
  bool measures_ = true;
};

}  // namespace

Result<std::unique_ptr<VisionEncoder>> create_vision_on(std::unique_ptr<Device> device, const BackendOptions& options,
                                                        std::shared_ptr<const VisionTower> tower) {
  const VisionTower& from = *tower;
  auto vision = std::make_unique<CudaVision>(std::move(device), options.precision, std::move(tower));
  CARAT_CHECK(vision->load());
  CARAT_CHECK(whole(from.maps));
  return std::unique_ptr<VisionEncoder>(std::move(vision));
}

Result<uint64_t> vision_bytes(const BackendOptions& options, const VisionTower& tower) {
  CARAT_TRY(TowerWeights weights, TowerWeights::describe(tower));
  return weights.matrix_bytes() + lay_out(tower.config, weights, options.precision).bytes;
}

}  // namespace carat::cuda
