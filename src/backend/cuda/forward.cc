#include "backend/cuda/forward.h"

#include <algorithm>
#include <string>

#include "base/checked.h"

namespace carat::cuda {
namespace {

constexpr uint64_t kPlentyBytes = uint64_t{32} << 30;  // of a device's memory
constexpr int64_t kManyRows = 512;                     // steps of so many rows share their time out by themselves
constexpr uint32_t kMeasuredSteps = 32;                // one in so many, of either kind, has all marks
constexpr int kHalfMarks = 512;                        // points in time of one of two steps

}  // namespace

Result<std::unique_ptr<Forward>> Forward::create(Device& device, const ModelConfig& config, const Weights& weights,
                                                 const BackendOptions& options) {
  const bool fast = options.precision == Precision::kFast;
  if (fast && options.batch_invariant) {
    return Error{ErrorCode::kInvalidArgument,
                 "--batch-invariant excludes --precision fast, which goes other ways for many rows than for few"};
  }
  std::unique_ptr<Forward> forward(new Forward(device, config));
  forward->blocks_ = options.threads;
  forward->precision_ = options.precision;
  forward->wide_ = device.facts().major == 9;
  forward->multiprocessors_ = static_cast<uint32_t>(device.facts().multiprocessors);
  forward->shared_bytes_ = device.facts().shared_bytes;
  device.enter();
  CARAT_CHECK(forward->find_kernels());
  CARAT_TRY(forward->weights_, CudaWeights::load(device, config, weights));
  forward->invariant_ = options.batch_invariant && forward->weights_.floats;
  // The definition's attention, the same for one row as for many, is for quantised models; others have tensor cores' with two pieces, where they
  // have the memory.
  int32_t pieces = fast ? 1 : forward->weights_.integers || forward->invariant_ ? 0 : 2;
  if (device.facts().shared_bytes < static_cast<size_t>(attend_fast_bytes(config.head_size, pieces))) pieces = 0;
  forward->attention_pieces_ = pieces;
  return forward;
}

Status Forward::find_kernels() {
  const std::pair<const char*, Device::Kernel*> named[] = {
#define CARAT_NAMED(name, params) {#name, &kernels_.name},
      CARAT_CUDA_KERNELS(CARAT_NAMED) CARAT_CUDA_CORE_KERNELS(CARAT_NAMED) CARAT_CUDA_MANY_KERNELS(CARAT_NAMED)
#undef CARAT_NAMED
#define CARAT_NAMED(first, second) {"few_pair_" #first "_" #second, &kernels_.few_pair_##first##_##second},
          CARAT_CUDA_FEW_PAIRS(CARAT_NAMED)
#undef CARAT_NAMED
  };
  for (const auto& [name, kernel] : named) {
    CARAT_TRY(*kernel, device_.find(name));
  }
  for (size_t type = 0; type < kTileTypes; ++type) {
    const std::string name = kTileTypeNames[type];
    CARAT_TRY(kernels_.few[type], device_.find("few_" + name));
    CARAT_TRY(kernels_.few_deep[type], device_.find("few_deep_" + name));
    CARAT_TRY(kernels_.few_gate[type], device_.find("few_gate_" + name));
    CARAT_TRY(kernels_.few_narrow[type], device_.find("few_narrow_" + name));
    CARAT_TRY(kernels_.few_shared[type], device_.find("few_shared_" + name));
    if (takes_six(static_cast<TileType>(type))) {
      CARAT_TRY(kernels_.few_six[type], device_.find("few_six_" + name));
    }
    CARAT_TRY(kernels_.few_head[type], device_.find("few_head_" + name));
    CARAT_TRY(kernels_.some[type], device_.find("some_" + name));
    CARAT_TRY(kernels_.gemm[type], device_.find("gemm_" + name));
    CARAT_TRY(kernels_.head_row[type], device_.find("head_row_" + name));
    if (!tile_format(static_cast<TileType>(type)).quantised()) {
      CARAT_TRY(kernels_.few_gated[type], device_.find("few_gated_" + name));
      continue;
    }
    CARAT_TRY(kernels_.dense[type], device_.find("dense_" + name));
    CARAT_TRY(kernels_.exact_gemm[type], device_.find("exact_gemm_" + name));
    CARAT_TRY(kernels_.exact_gated[type], device_.find("exact_gated_" + name));
  }
  return {};
}

Forward::RoundedPlace Forward::place(DeviceLayout& layout, int64_t rows, int64_t columns, bool integers,
                                     bool floats) const {
  RoundedPlace p;
  const auto rows16 = static_cast<size_t>(round_up<int64_t>(rows, 16));
  p.chunks = static_cast<int32_t>(div_ceil<int64_t>(columns, kTileColumns));
  p.columns = static_cast<int32_t>(columns);
  p.integers = integers;
  p.floats = floats;
  const size_t cells = rows16 * static_cast<size_t>(p.chunks);  // of a row and a chunk
  if (integers) {
    const size_t tiles = static_cast<size_t>(exact_row_tiles(static_cast<int>(rows16))) * static_cast<size_t>(p.chunks);
    p.planes = layout.add<uint8_t>(wide_ && rows > kLeastExactRows ? std::max(cells * 256, tiles * kExactTileBytes)
                                                                   : cells * 256);
    p.scales = layout.add<float>(cells * 4);
    p.sums = layout.add<int32_t>(cells * 8);
  }
  if (floats) {
    const auto filled = static_cast<size_t>(round_up<int64_t>(rows, kCoreRows)) * static_cast<size_t>(p.chunks);
    p.values = layout.add<float>(cells * kTileColumns);
    p.pieces = layout.add<uint16_t>(filled * kTileColumns * 2);
  }
  p.factors = layout.add<float>(rows16);
  return p;
}

Rounded Forward::rounded(const RoundedPlace& p, int64_t rows) const {
  Rounded r{};
  r.planes = at<uint8_t>(p.planes);
  r.scales = at<float>(p.scales);
  r.sums = at<int32_t>(p.sums);
  r.values = at<float>(p.values);
  r.pieces = at<uint8_t>(p.pieces);
  r.factors = at<float>(p.factors);
  r.chunks = p.chunks;
  r.columns = p.columns;
  r.rows16 = static_cast<int32_t>(round_up<int64_t>(rows, 16));
  const bool exact = wide_ && p.integers && !p.floats && rows > kLeastExactRows;
  r.fragments = rows <= kFewRows && !invariant_ ? kColumnsForm : exact ? kExactForm : p.cores ? 2 : 1;
  r.core_planes = precision_ == Precision::kFast ? 1 : 2;
  r.integers = p.integers ? 1 : 0;
  r.floats = p.floats ? 1 : 0;
  if (dense_ && exact) {  // one plane of cores takes no more than the planes of integers
    r.fragments = 2;
    r.integers = 0;
    r.floats = 1;
    r.pieces = r.planes;
  }
  return r;
}

Status Forward::reserve(const KvPlan& plan) {
  device_.enter();
  plan_ = plan;
  const auto K = static_cast<size_t>(config_.kv_heads);
  const auto E = static_cast<size_t>(config_.head_size);
  page_bytes_ = K * kPageTokens * E * sizeof(uint16_t);
  DeviceLayout cache;
  std::vector<size_t> offsets;
  for (const CudaLayer& layer : weights_.layers) {
    const auto pages = static_cast<size_t>(layer.global ? plan.global_pages : plan.local_pages);
    offsets.push_back(cache.add<uint8_t>(pages * page_bytes_));
    offsets.push_back(cache.add<uint8_t>(pages * page_bytes_));
  }
  kv_ = {};
  CARAT_TRY(kv_, DeviceMemory::allocate(device_, cache.bytes(), "the KV cache"));
  device_.fill(kv_.data(), 0, kv_.bytes());  // keys that nobody has written are read, though not used
  k_cache_.clear();
  v_cache_.clear();
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    k_cache_.push_back(reinterpret_cast<uint16_t*>(kv_.data() + offsets[2 * i]));
    v_cache_.push_back(reinterpret_cast<uint16_t*>(kv_.data() + offsets[2 * i + 1]));
  }

  bool integers[3] = {}, floats[3] = {};  // inputs of qkv and gate_up, of attn_out, of down
  bool others[3] = {};                    // floats that are no BF16
  const auto reads = [&](int input, const TileMatrix& m) {
    (is_quantised(m) ? integers : floats)[input] = true;
    if (!is_quantised(m) && m.type != TileType::kBF16) others[input] = true;
  };
  for (const CudaLayer& layer : weights_.layers) {
    for (const ProductPart& part : layer.qkv) reads(0, part.matrix);
    for (const ProductPart& part : layer.gate_up) reads(0, part.matrix);
    reads(1, layer.attn_out.matrix);
    reads(2, layer.down.matrix);
  }
  const auto T = static_cast<size_t>(round_up(plan.max_rows, 16));
  const auto D = static_cast<size_t>(config_.width);
  const auto H = static_cast<size_t>(config_.heads);
  const auto F = static_cast<size_t>(config_.ffn_width);
  DeviceLayout layout;
  norm_ = place(layout, plan.max_rows, config_.width, integers[0], floats[0]);
  attended_ = place(layout, plan.max_rows, config_.heads * config_.head_size, integers[1], floats[1]);
  gated_ = place(layout, plan.max_rows, config_.ffn_width, integers[2], floats[2]);
  last_ = place(layout, kHeadRows, config_.width, is_quantised(weights_.head), !is_quantised(weights_.head));
  last_.cores = wide_ && weights_.head.type == TileType::kBF16;
  RoundedPlace* const inputs[] = {&norm_, &attended_, &gated_};
  for (size_t i = 0; i < 3; ++i) inputs[i]->cores = wide_ && floats[i] && !others[i];
  hidden_ = layout.add<float>(T * D);
  size_t parts = T;  // rows of all parts of a sum
  for (int64_t rows = kShortRows; rows <= round_up<int64_t>(plan.max_rows, kShortRows); rows += kShortRows) {
    parts =
        std::max(parts, static_cast<size_t>(most_splits(config_.width, rows) * std::min<int64_t>(rows, plan.max_rows)));
  }
  projected_ = layout.add<float>(parts * D);
  qkv_ = layout.add<float>(T * (H + 2 * K) * E);
  attention_ = layout.add<float>(T * H * E);
  products_ = layout.add<float>(T * 2 * F);
  rope_ = layout.add<float>(4 * T * E / 2);
  // Weights of the head are read once for all rows that go through it: where there is plenty of memory, for many.
  const bool plenty = plan.slots > kLeastHeadRows && device_.facts().memory_bytes >= kPlentyBytes;
  head_rows_ = static_cast<size_t>(plenty ? kHeadRows : kLeastHeadRows);
  dense_ = goes_dense();
  logits_ = layout.add<float>(head_rows_ * static_cast<size_t>(config_.vocabulary));
  normed_ = layout.add<float>(T * D);
  buffers_ = {};
  CARAT_TRY(buffers_, DeviceMemory::allocate(device_, layout.bytes(), "activations"));
  device_.fill(buffers_.data(), 0, buffers_.bytes());
  partials_ = {};
  CARAT_CHECK(prepare_top());
  CARAT_CHECK(prepare_decode());
  return device_.finish();
}

void Forward::layer(size_t index, int64_t rows) {
  const CudaLayer& layer = weights_.layers[index];
  const auto T = static_cast<uint32_t>(rows);
  const Rounded first = qkv_input(rows), norm = rounded(norm_, rows);
  const int64_t qkv_width = int64_t{config_.heads + 2 * config_.kv_heads} * config_.head_size;
  const bool turned = turns_heads(layer, first, rows);
  if (!few_pair_product(layer.qkv, first, at<float>(qkv_), qkv_width, rows)) {
    for (const ProductPart& part : layer.qkv) {
      if (turned) {
        heads_product(part, first, heads_params(layer, index), rows);
      } else {
        product(part, first, at<float>(qkv_), qkv_width, rows);
      }
    }
  }
  stage_done(Stage::kQkv);

  const Rounded attended = rounded(attended_, rows);
  attention(layer, index, attended, turned);
  stage_done(Stage::kAttn);

  CloseParams close{};
  close.splits = summed_product(layer.attn_out, attended, rows);
  close.split_stride = rows * config_.width;
  close.projected = at<float>(projected_);
  close.post_norm = layer.post_attn_norm;
  close.hidden = at<float>(hidden_);
  close.next_norm = layer.ffn_norm;
  close.out = norm;
  close.width = config_.width;
  close.epsilon = config_.norm_epsilon;
  bool sums = false;
  for (const ProductPart& part : layer.gate_up) sums = sums || has_minima(part.matrix);
  close_step(close, sums, rows);
  stage_done(Stage::kAttnOut);

  const Rounded gated = rounded(gated_, rows);
  const bool whole = layer.gate_up.size() == 1 && config_.ffn_width % kTileColumns == 0;
  const bool fused = whole && norm.fragments == 2 && gated.fragments == 2 && gated.integers == 0 &&
                     (dense_ || !is_quantised(layer.gate_up[0].matrix));
  const bool few = whole && norm.fragments == kColumnsForm &&
                   few_shape(layer.gate_up[0].matrix, true, gated.integers != 0).groups != 0;
  const bool exact = whole && norm.fragments == kExactForm && gated.fragments == kExactForm;
  const bool fragments = norm.fragments == 1 || (norm.fragments == 2 && is_quantised(layer.gate_up[0].matrix));
  const bool some = whole && fragments && takes_some(layer.gate_up[0].matrix, rows) &&
                    some_groups(layer.gate_up[0].matrix, rows, true) != 0;
  if (fused) {
    core_product(dense_part(layer.gate_up[0]), norm, nullptr, 0, rows, 1, &gated);
  } else if (few) {
    few_gate_product(layer.gate_up[0], norm, rows, gated);
  } else if (exact) {
    exact_product(layer.gate_up[0], norm, nullptr, 0, rows, &gated, has_minima(layer.down.matrix));
  } else if (some) {
    some_product(layer.gate_up[0], norm, nullptr, 0, rows, &gated);
  } else {
    for (const ProductPart& part : layer.gate_up)
      product(part, norm, at<float>(products_), 2 * config_.ffn_width, rows);
    launch(kernels_.gate_rows, GatedParams{at<float>(products_), gated}, T, row_blocks(gated), 1, kRowThreads, 0, true);
  }
  stage_done(Stage::kGateUp);

  close.splits = summed_product(layer.down, gated, rows);
  close.out = first;  // of the next layer
  close.post_norm = layer.post_ffn_norm;
  close.next_norm = index + 1 < weights_.layers.size() ? weights_.layers[index + 1].attn_norm : nullptr;
  sums = false;
  if (close.next_norm != nullptr) {
    for (const ProductPart& part : weights_.layers[index + 1].qkv) sums = sums || has_minima(part.matrix);
  }
  close_step(close, sums, rows);
  stage_done(Stage::kDown);
}

// `computed`: the head was part of the one launch.
Status Forward::head(const Wanted& wanted, Results& results, bool computed) {
  const auto V = static_cast<size_t>(config_.vocabulary);
  const std::span<const int32_t> rows = wanted.logits_rows;
  const auto is_whole = [](const RowDraw& draw) { return draw.row; };
  const bool whole = std::any_of(wanted.draws.begin(), wanted.draws.end(), is_whole);
  results.logits.resize(whole ? rows.size() * V : 0);
  results.best.resize(rows.size());
  results.found.resize(wanted.draws.size());
  const auto needs_row = [](const DrawSpec& draw) { return draw.top_k > 0; };
  const bool keep =
      !wanted.draws.empty() || std::any_of(wanted.device_draws.begin(), wanted.device_draws.end(), needs_row);
  for (size_t first = 0; first < rows.size(); first += head_rows_) {
    const auto count = static_cast<int64_t>(std::min(head_rows_, rows.size() - first));
    const auto n = static_cast<uint32_t>(count);
    if (computed) {
    } else if (count == 1 && !invariant_) {
      device_.fill(best_, 0, sizeof(uint64_t));
      head_row(rows[first], keep ? at<float>(logits_) : nullptr, best_);
    } else {
      LastParams p{};
      p.hidden = at<float>(hidden_);
      p.wanted = wanted_ + first;
      p.norm = weights_.final_norm;
      p.out = rounded(last_, count);
      p.width = config_.width;
      p.epsilon = config_.norm_epsilon;
      p.best = best_;
      launch(kernels_.last_rows, p, n, 1, 1, kRowThreads, kRowThreads * sizeof(float), true);
      if (by_cores(weights_.head, p.out)) {
        core_product({weights_.head}, p.out, keep ? at<float>(logits_) : nullptr, config_.vocabulary, count, 1, nullptr,
                     best_);
      } else if (!few_head_product(p.out, keep ? at<float>(logits_) : nullptr, count)) {
        product({weights_.head}, p.out, at<float>(logits_), config_.vocabulary, count);
        launch(kernels_.find_best, BestParams{at<float>(logits_), best_, config_.vocabulary}, 32, n, 1, 256, 0, true);
      }
    }
    if (!computed && wanted.device_draws.empty())
      device_.download(keys() + first, best_, static_cast<size_t>(count) * sizeof(uint64_t));
    if (!wanted.draws.empty()) CARAT_CHECK(find_draws(wanted, first, n, results, computed));
    if (!wanted.device_draws.empty() && (!computed || keep)) draw_on_device(wanted.device_draws, first, n);
  }
  return {};
}

void Forward::stage_done(Stage stage) {
  if (now_->keeps_time) return;
  const auto at = static_cast<int>(now_->mark_of.size());
  const bool needed = now_->measures_stages || at == 0 || stage == Stage::kLogits;  // the first, the last
  if (!needed || at >= kHalfMarks - 1) return;                                      // kHalfMarks - 1 is the end
  device_.mark(now_->first_mark + at);
  now_->mark_of.emplace_back(stage, now_->first_mark + at);
}

void Forward::embed(int64_t rows) {
  EmbedParams embed{};
  embed.table = weights_.embedding;
  embed.rows = rows_;
  embed.embeddings = reinterpret_cast<const float*>(step_memory_.data() + embeddings_);
  embed.hidden = at<float>(hidden_);
  embed.norm = weights_.layers[0].attn_norm;
  embed.out = qkv_input(rows);
  const size_t angles = static_cast<size_t>(round_up(plan_.max_rows, 16)) * static_cast<size_t>(config_.head_size / 2);
  for (size_t kind = 0; kind < 2; ++kind) {
    embed.frequencies[kind] = weights_.frequencies[kind];
    embed.cosines[kind] = at<float>(rope_) + 2 * kind * angles;
    embed.sines[kind] = at<float>(rope_) + (2 * kind + 1) * angles;
  }
  embed.width = config_.width;
  embed.half = config_.head_size / 2;
  embed.from_slot = kFromSlot;
  embed.slots = slots_;
  embed.image_row = kImageRow;
  embed.scale = config_.embedding_scale;
  embed.epsilon = config_.norm_epsilon;
  launch(kernels_.embed_rows, embed, static_cast<uint32_t>(rows), 1, 1, kRowThreads, kRowThreads * sizeof(float), true);
}

void Forward::take_stage_times(bool one_launch) {
  const auto& mark_of = now_->mark_of;
  stage_seconds_ = {};
  for (size_t i = 1; i < mark_of.size(); ++i) {
    stage_seconds_[static_cast<size_t>(mark_of[i].first)] +=
        device_.seconds_between(mark_of[i - 1].second, mark_of[i].second);
  }
  double all = 0;
  for (const double seconds : stage_seconds_) all += seconds;
  if (one_launch) {  // by its own clock; what draws is charged to the head
    charge_decode();
    double& head_seconds = stage_seconds_[static_cast<size_t>(Stage::kLogits)];
    for (size_t stage = 0; stage < static_cast<size_t>(Stage::kLogits); ++stage) all -= stage_seconds_[stage];
    head_seconds = std::max(head_seconds, all);
  } else if (!now_->measures_stages) {
    for (size_t stage = 0; stage < kStageCount; ++stage) stage_seconds_[stage] = all * shares_[now_->many][stage];
  } else if (all > 0) {
    for (size_t stage = 0; stage < kStageCount; ++stage) shares_[now_->many][stage] = stage_seconds_[stage] / all;
  }
}

Status Forward::begin(int half, const Step& step, std::span<const int32_t> tokens, const Wanted& wanted,
                      Results& results) {
  device_.enter();
  const auto rows = static_cast<int64_t>(step.rows.size());
  now_ = &half_steps_[half];
  now_->mark_of.clear();
  now_->first_mark = half * kHalfMarks;
  const size_t key_bytes =
      std::max<size_t>(kHeadRows, wanted.logits_rows.size()) * (sizeof(uint64_t) + sizeof(int32_t));
  if (now_->keys.bytes() < key_bytes) {
    now_->keys = {};
    CARAT_TRY(now_->keys, DeviceMemory::allocate_host(device_, key_bytes));
  }
  now_->many = rows >= kManyRows ? 1 : 0;
  uint32_t& unmeasured = unmeasured_steps_[now_->many];
  now_->measures_stages = rows == 1 || unmeasured == 0;
  if (rows != 1) unmeasured = (unmeasured + 1) % kMeasuredSteps;
  CARAT_CHECK(upload_step(step, tokens, wanted));
  const bool one_launch = now_->one_launch = can_decode(step);
  if (single_count_ != 0 && !one_launch) {
    const auto splits = static_cast<size_t>(std::max(most_splits_[0], most_splits_[1]));
    const size_t bytes = single_count_ * static_cast<size_t>(config_.heads) * splits *
                         (static_cast<size_t>(config_.head_size) + 2) * sizeof(float);
    if (partials_.bytes() < bytes && bytes <= kPartialBytes) {
      CARAT_CHECK(device_.finish());
      partials_ = {};
      CARAT_TRY(partials_, DeviceMemory::allocate(device_, std::min(2 * bytes, kPartialBytes), "attention"));
    }
  }
  const bool head_too = now_->head_too = one_launch && wanted.logits_rows.size() == 1;
  const bool draws = !wanted.draws.empty() || (!wanted.device_draws.empty() && wanted.device_draws[0].top_k != 0);
  now_->keeps_time = one_launch && !draws;
  stage_done(Stage::kSample);  // where the clock starts
  copy_pages(step);
  if (one_launch) {
    const bool greedy = head_too && !wanted.device_draws.empty() && wanted.device_draws[0].top_k == 0;
    const bool row = head_too && !greedy && !(wanted.draws.empty() && wanted.device_draws.empty());
    decode_.slot = greedy ? wanted.device_draws[0].slot : -1;
    decode(step.seqs[0].past, row ? at<float>(logits_) : nullptr, head_too ? best_ : nullptr);
  } else {
    embed(rows);
    stage_done(Stage::kEmbed);
    for (size_t i = 0; i < weights_.layers.size(); ++i) layer(i, rows);
  }

  results.hidden.resize(wanted.hidden_rows.size() * static_cast<size_t>(config_.width));
  if (!wanted.hidden_rows.empty()) {
    LastParams p{};
    p.hidden = at<float>(hidden_);
    p.wanted = wanted_ + wanted.logits_rows.size();
    p.norm = weights_.final_norm;
    p.normed = at<float>(normed_);
    p.width = config_.width;
    p.epsilon = config_.norm_epsilon;
    launch(kernels_.last_rows, p, static_cast<uint32_t>(wanted.hidden_rows.size()), 1, 1, kRowThreads,
           kRowThreads * sizeof(float));
    device_.download(results.hidden.data(), at<float>(normed_), results.hidden.size() * sizeof(float));
  }
  CARAT_CHECK(head(wanted, results, head_too));
  stage_done(Stage::kLogits);
  device_.mark(now_->first_mark + kHalfMarks - 1);
  return {};
}

Status Forward::end(int half, const Wanted& wanted, Results& results, const std::function<void()>& meanwhile) {
  CARAT_CHECK(device_.wait_for(half * kHalfMarks + kHalfMarks - 1, meanwhile));
  now_ = &half_steps_[half];
  const bool one_launch = now_->one_launch;
  if (one_launch) take_decoded(now_->head_too);
  take_best(0, wanted.logits_rows.size(), results);
  results.drawn.resize(wanted.device_draws.size());
  const auto* drawn = reinterpret_cast<const int32_t*>(keys() + std::max<size_t>(kHeadRows, wanted.logits_rows.size()));
  for (size_t i = 0; i < results.drawn.size(); ++i) {
    const bool greedy = wanted.device_draws[i].top_k == 0;
    results.drawn[i] = greedy ? results.best[i].token : drawn[i];
  }
  take_stage_times(one_launch);
  return {};
}

}  // namespace carat::cuda
