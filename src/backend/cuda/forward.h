// The forward pass of a step on a device: the stages of the paper as launches of the batched kernels.
//   embed | per layer: qkv | attn | attn_out | gate_up | down | logits
#pragma once

#include <array>
#include <functional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/cuda_weights.h"
#include "backend/cuda/exact_params.h"
#include "backend/cuda/few_params.h"
#include "backend/cuda/half_params.h"
#include "backend/cuda/tiles_plan.h"
#include "sampling/top_k.h"

namespace carat::cuda {

inline constexpr int64_t kHeadRows = 256,
                         kLeastHeadRows = 64;  // that go through the head at a time, at most and at least

inline constexpr int64_t kFewRows = 8;  // that few.cu multiplies: a column of mma each

inline bool is_quantised(const TileMatrix& m) { return tile_format(m.type).quantised(); }
// Whether rows are multiplied in bf16 by warpgroups.
bool by_cores(const TileMatrix& matrix, const Rounded& x);
inline bool has_minima(const TileMatrix& m) { return tile_format(m.type).min; }
// Blocks of four warps that write a row: two blocks of 32 columns for each warp.
inline uint32_t row_blocks(const Rounded& x) { return static_cast<uint32_t>((x.chunks + 1) / 2); }
// Of the splits of rows that attend by themselves, at most; with more of them a row's are one block's.
inline constexpr size_t kPartialBytes = size_t{32} << 20;

class Forward {
 public:
  // options.threads: blocks of the kernels of one row; 0: one on each multiprocessor. Errors: kInvalidArgument for options that exclude each other.
  static Result<std::unique_ptr<Forward>> create(Device& device, const ModelConfig& config, const Weights& weights,
                                                 const BackendOptions& options);

  static MemoryNeed memory_need(const ModelConfig& config, const Weights& weights, int32_t max_rows);

  const CudaWeights& weights() const { return weights_; }
  uint64_t kv_bytes() const { return kv_.bytes(); }
  Status reserve(const KvPlan& plan);

  // What is to be found out of a row of logits, beside its best; and what is done to it before.
  struct RowDraw {
    bool row = false;                           // the whole row comes to the host, as it was computed
    int32_t raw_top = 0;                        // as many of its best, at most kMostTop
    bool raw_sums = false;                      // sums of its pieces
    std::span<const Adjustment> adjustments{};  // then these are done to it,
    std::span<const uint32_t> allowed{};        // and what is not among these is barred,
    int32_t top = 0;                            // and as many of the best are found, at most kMostTop,
    double below = 0;                           // or those that lie no further below the best (negative);
    double temperature = 0;                     // sums of its pieces; 0: none
    bool changes() const { return !adjustments.empty() || !allowed.empty(); }
    bool any() const { return row || raw_top > 0 || raw_sums || changes() || top > 0 || below < 0 || temperature > 0; }
  };
  // What a step is to leave on the host. The most probable tokens cost a few bytes, logits a megabyte each.
  struct Wanted {
    std::span<const int32_t> logits_rows, hidden_rows;
    std::span<const RowDraw> draws{};  // [logits_rows], or empty: only the best of each row
    std::span<const DrawSpec>
        device_draws{};  // instead, [logits_rows]: the device draws, and keeps tokens in their slots
    // Called when the results of logits_rows [first, first + count) are there, which still lie on the device then (fetch).
    std::function<Status(size_t first, size_t count)> found{};
  };
  struct Best {
    int32_t token;
    float logit;
    bool sound;  // every logit is finite or -inf, and one is finite
  };
  struct Results {
    std::vector<float> logits, hidden;      // [logits_rows][V], [hidden_rows][D]
    std::vector<Best> best;                 // [logits_rows]
    struct Found {                          // of a row, as its RowDraw asks
      std::vector<Candidate> raw_top, top;  // in any order, and maybe more
      std::span<const double> raw_sums, sums;
      std::span<const float> before;  // what the logits of the adjustments were
      Candidate best{};               // after the changes; id -1: nothing is allowed
    };
    std::vector<Found> found;    // [draws]; spans are valid in Wanted::found only
    std::vector<int32_t> drawn;  // [device_draws]
  };
  // A step in two parts, so that the next one, with the other half, may begin before this one ends. The step was checked;
  // its tokens are ids, image rows, or kFromSlot of what a step that has begun draws on the device. Where `draws` or
  // hidden_rows are wanted, begin() waits for everything.
  Status begin(int half, const Step& step, std::span<const int32_t> tokens, const Wanted& wanted, Results& results);
  Status end(int half, const Wanted& wanted, Results& results, const std::function<void()>& meanwhile);
  // In Wanted::found: logits [begin, begin + out.size()) of one of its rows, after the changes.
  Status fetch(size_t row, size_t begin, std::span<float> out);
  // Seconds of each stage of the step that has ended last.
  const std::array<double, kStageCount>& stage_seconds() const { return stage_seconds_; }

 private:
  Forward(Device& device, const ModelConfig& config) : device_(device), config_(config) {}

  // A place for rounded rows, large enough for either form that `types` read.
  struct RoundedPlace {
    size_t planes = 0, scales = 0, sums = 0, values = 0, pieces = 0, factors = 0;
    int32_t chunks = 0, columns = 0;
    bool integers = false, floats = false, cores = false;
  };
  struct Kernels {
#define CARAT_KERNEL_HANDLE(name, params) Device::Kernel name = nullptr;
    CARAT_CUDA_KERNELS(CARAT_KERNEL_HANDLE)
    CARAT_CUDA_CORE_KERNELS(CARAT_KERNEL_HANDLE)
    CARAT_CUDA_MANY_KERNELS(CARAT_KERNEL_HANDLE)
#define CARAT_PAIR_HANDLE(first, second) Device::Kernel few_pair_##first##_##second = nullptr;
    CARAT_CUDA_FEW_PAIRS(CARAT_PAIR_HANDLE)
#undef CARAT_PAIR_HANDLE
#undef CARAT_KERNEL_HANDLE
    std::array<Device::Kernel, kTileTypes> few{}, few_deep{}, few_shared{}, few_six{}, few_gate{}, few_narrow{},
        few_head{}, few_gated{}, some{}, gemm{}, head_row{}, exact_gemm{}, exact_gated{}, dense{};
  };

  Status find_kernels();
  RoundedPlace place(DeviceLayout& layout, int64_t rows, int64_t columns, bool integers, bool floats) const;
  Rounded rounded(const RoundedPlace& at, int64_t rows) const;
  Status upload_step(const Step& step, std::span<const int32_t> tokens, const Wanted& wanted);
  void plan_attention(const Step& step);
  void plan_tiles_of(size_t kind, std::span<const RowTile> tiles);
  // On tensor cores; none for other head sizes, and where the definition's is asked for.
  Device::Kernel fast_attention() const;
  void copy_pages(const Step& step);
  void layer(size_t index, int64_t rows);
  uint32_t heads_together(uint32_t items) const;
  HeadsParams heads_params(const CudaLayer& layer, size_t index);
  void attention(const CudaLayer& layer, size_t index, const Rounded& attended, bool prepared);
  void product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows);
  // The same through cores; `gated`: gate and up become the next product's input. Returns how many parts `out` has.
  static HalfGemmParams core_params(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride,
                                    int64_t rows);
  bool turns_heads(const CudaLayer& layer, const Rounded& x, int64_t rows) const;
  void heads_product(const ProductPart& part, const Rounded& x, const HeadsParams& heads, int64_t rows);
  int32_t core_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows,
                       int32_t most_splits, const Rounded* gated, uint64_t* best = nullptr);
  // The same where few outputs are few tiles: blocks of a cluster share out their columns, so many; 0: it does not pay.
  int32_t split_shares(const TileMatrix& matrix, int64_t rows) const;
  void split_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows);
  bool goes_dense() const;
  // Its weights as BF16, where nothing else lies now.
  ProductPart dense_part(const ProductPart& part);
  // Such weights are written by the kernel before: they cannot be asked for while it runs.
  bool is_unpacked(const ProductPart& dense) const { return dense.matrix.data == at<uint8_t>(products_); }
  // Of few rows (Rounded::fragments is kColumnsForm).
  struct FewShape {
    bool deep = false, narrow = false;
    int32_t shares = 0;             // blocks of a cluster; 0: none
    int32_t groups = 0, round = 0;  // groups 0: it does not fit
    uint32_t warps = 0;
    size_t shared_bytes = 0;
  };
  FewShape few_shape(const TileMatrix& matrix, bool gated, bool integers) const;
  void few_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows);
  // Two parts of two types in one launch; false: there is none for them.
  bool few_pair_product(std::span<const ProductPart> parts, const Rounded& x, float* out, int64_t out_stride,
                        int64_t rows);
  void few_gate_product(const ProductPart& part, const Rounded& x, int64_t rows, const Rounded& gated);
  // Logits of few rows and the best of each; false: they do not fit.
  bool few_head_product(const Rounded& x, float* logits, int64_t rows);
  // Quantised weights times rows in tiles for warpgroups, and the same. `sums`: of what is gated.
  void exact_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows,
                     const Rounded* gated, bool sums);
  // Of more rows than these and fewer than many: groups of 8 outputs of a block; 0: it does not fit.
  int32_t some_groups(const TileMatrix& matrix, int64_t rows, bool gated) const;
  bool takes_some(const TileMatrix& matrix, int64_t rows) const;
  void some_product(const ProductPart& part, const Rounded& x, float* out, int64_t out_stride, int64_t rows,
                    const Rounded* gated);
  // The input of queries, keys and values.
  Rounded qkv_input(int64_t rows) const;
  int32_t summed_product(const ProductPart& part, const Rounded& x, int64_t rows);
  int32_t most_splits(int32_t outputs, int64_t rows) const;
  // `sums`: whether the next product reads sums.
  void close_step(const CloseParams& params, bool sums, int64_t rows);
  void round_step(const RoundParams& params, bool sums, int64_t rows);
  void embed(int64_t rows);
  Status head(const Wanted& wanted, Results& results, bool computed);
  Status find_draws(const Wanted& wanted, size_t first, size_t count, Results& results, bool computed);
  Status take_top(int32_t k, const uint64_t* best, std::span<const double> below,
                  std::span<std::vector<Candidate>* const> rows);
  Status change_rows(std::span<const RowDraw> draws, std::span<Results::Found> found);
  void sum_rows(const uint64_t* best, std::span<const double> temperatures, double* sums);
  // One row in one launch.
  Status prepare_top();
  Status prepare_decode();
  bool can_decode(const Step& step) const { return decode_shared_bytes_ != 0 && step.rows.size() == 1; }
  void decode(int32_t position, float* logits, uint64_t* best);
  void charge_decode();
  void take_decoded(bool head_too);
  uint64_t* keys() const { return reinterpret_cast<uint64_t*>(now_->keys.data()); }
  void take_best(size_t first, size_t count, Results& results) const;
  void draw_on_device(std::span<const DrawSpec> draws, size_t first, size_t count);
  void launch_top(int32_t k, const uint64_t* best, bool below, uint32_t rows);
  void head_row(int32_t row, float* logits, uint64_t* best);
  void stage_done(Stage stage);
  template <class Params>
  void launch(Device::Kernel kernel, const Params& params, uint32_t x, uint32_t y, uint32_t z, uint32_t threads,
              size_t shared_bytes, bool early = false) {
    Launch how;
    how.early = early && !now_->measures_stages;
    how.grid[0] = x;
    how.grid[1] = y;
    how.grid[2] = z;
    how.threads = threads;
    how.shared_bytes = shared_bytes;
    device_.launch(kernel, how, &params, sizeof params);
  }
  // Of a block of which a multiprocessor holds two: each takes 1 KB beside its own.
  size_t half_shared_bytes() const { return (shared_bytes_ - 1024) / 2; }
  template <class T>
  T* at(size_t offset) const {
    return reinterpret_cast<T*>(buffers_.data() + offset);
  }

  Device& device_;
  const ModelConfig config_;
  Kernels kernels_;
  CudaWeights weights_;
  KvPlan plan_;
  DeviceMemory kv_, buffers_, partials_;
  std::vector<uint16_t*> k_cache_, v_cache_;  // [layer]
  size_t page_bytes_ = 0;                     // of K, and of V, of a layer
  RoundedPlace norm_, attended_, gated_, last_;
  size_t hidden_ = 0, projected_ = 0, qkv_ = 0, attention_ = 0, products_ = 0, rope_ = 0, logits_ = 0, normed_ = 0;
  size_t embeddings_ = 0, step_ = 0, step_bytes_ = 0;
  size_t embeddings_rows_ = 0;

  DeviceMemory top_memory_, top_landing_;  // top_landing_: of the host
  TopParams top_{};
  struct DrawPlaces {  // of kHeadRows rows, on the device and, at the same offsets from `best`, in top_landing_
    uint64_t* best = nullptr;
    double *raw_sums = nullptr, *sums = nullptr, *per_row = nullptr;
  } draw_{};
  const uint8_t* landed_ = nullptr;       // where on the device begins what comes to top_landing_
  size_t landed_bytes_ = 0, pieces_ = 0;  // pieces_: of a row
  int32_t* slots_ = nullptr;              // [slots] what they sampled
  std::vector<float> row_;
  DeviceMemory changes_memory_, changes_;  // changes_: of the host; they grow
  size_t found_first_ = 0;                 // the row that lies first in logits_
  DeviceMemory decode_tables_, decode_memory_;
  DecodeParams decode_{};
  Device::Kernel decode_kernel_[3] = {};  // for the first keys of a sequence, for few, for any
  size_t decode_shared_bytes_ = 0;        // 0: the model does not fit the kernel, or is to go the way of many rows
  int blocks_ = 0;                        // asked for
  uint32_t multiprocessors_ = 1;
  size_t shared_bytes_ = 0;  // that a block may have
  bool wide_ = false;        // has the products of warpgroups
  bool dense_ = false;       // fast, all layers quantised: many rows are multiplied as those of 16-bit weights are
  bool invariant_ = false;   // there are floats, and each goes one way, which adds in one order, whatever the rows
  Precision precision_ = Precision::kExact;
  size_t head_rows_ = kLeastHeadRows;
  int32_t attention_pieces_ = 0;  // of queries and weights on tensor cores; 0: the definition's attention
  uint64_t* best_ = nullptr;      // [kHeadRows]

  // Of the step that is computed.
  const RowInfo* rows_ = nullptr;
  RowInfo row_info_{};  // of a step of one row
  int32_t pages_of_row_[2] = {}, near_pages_[2][kNearPages] = {};
  const int32_t *pages_[2] = {}, *page_begin_[2] = {}, *page_count_[2] = {}, *places_[2] = {};
  const int32_t *wanted_ = nullptr, *pairs_ = nullptr;
  // What attends: rows by themselves, and tiles of neighbours (tiles_plan.h; on tensor cores pairs of a first row and how many), of
  // local layers and of global ones.
  const int32_t *single_rows_ = nullptr, *tiles_ = nullptr;
  struct ItemList {
    size_t at = 0;  // in tiles_
    uint32_t count = 0;
  } tile_items_[2], join_items_[2];
  size_t single_count_ = 0, tiled_rows_ = 0;
  int32_t most_splits_[2] = {};    // of any single row
  bool alone_ = false;             // every row is its sequence's only one: attend_one.cu
  DeviceMemory step_memory_;       // grows
  std::vector<uint8_t> uploaded_;  // what lies there behind the rows, where a step of one row came last
  std::vector<int32_t> single_plan_, tile_plan_;
  std::array<uint64_t, kDecodeStages> stage_nanoseconds_{}, charged_nanoseconds_{};
  // A mark between two kernels costs as much as a small kernel: one step in kMeasuredSteps has them, and the others' time is
  // shared out as that one's was. Steps of many rows are counted apart.
  void take_stage_times(bool one_launch);
  std::array<uint32_t, 2> unmeasured_steps_{};
  std::array<std::array<double, kStageCount>, 2> shares_{};
  struct HalfStep {                    // of two steps that are on their way
    DeviceMemory host, landing, keys;  // of the host: what goes up; what one launch left; [L] best, [L] drawn
    std::vector<std::pair<Stage, int>> mark_of;
    int first_mark = 0;
    bool one_launch = false, head_too = false, measures_stages = true;
    bool keeps_time = false;  // one launch and nothing else: no marks
    size_t many = 0;
  } half_steps_[2];
  HalfStep* now_ = half_steps_;
  const DrawSpec* specs_ = nullptr;
  std::array<double, kStageCount> stage_seconds_{};
};

}  // namespace carat::cuda
