// One row in one launch (decode.cu): what it needs on the device, the launch, its stages' times; and the head for one row.
#include <algorithm>

#include "backend/cuda/decode_plan.h"
#include "backend/cuda/forward.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

// The types of all matrices that the kernel multiplies, a bit each.
uint32_t types_of(std::span<const DecodeLayer> layers, const TileMatrix& head) {
  uint32_t types = type_bit(head.type);
  for (const DecodeLayer& layer : layers) {
    for (const DecodeStage& stage : stages_of(layer)) {
      for (const DecodePart& part : stage.parts) types |= type_bit(part.matrix.type);
    }
  }
  return types;
}

}  // namespace

// What decode_row needs beside the buffers of every step: its table of layers, the pieces of weights of each block in their
// order, and where blocks tell each other things.
Status Forward::prepare_decode() {
  const auto facts = device_.facts();
  multiprocessors_ =
      static_cast<uint32_t>(blocks_ > 0 ? std::min(blocks_, facts.multiprocessors) : facts.multiprocessors);
  const auto D = static_cast<size_t>(config_.width);
  const auto F = static_cast<size_t>(config_.ffn_width);
  const auto E = static_cast<size_t>(config_.head_size);
  const auto H = static_cast<size_t>(config_.heads);
  const auto K = static_cast<size_t>(config_.kv_heads);
  const auto positions =
      static_cast<size_t>(round_up<int64_t>(
          std::min<int64_t>(int64_t{plan_.global_pages} * kPageTokens, config_.context_length), kSplit)) +
      kSplit;
  const size_t splits = positions / kSplit + 1;

  const auto part = [](const ProductPart& from) { return DecodePart{from.matrix, from.group_step, from.group_first}; };
  const auto reads = [](std::span<const ProductPart> parts) {
    int32_t forms = 0;
    for (const ProductPart& one : parts) forms |= is_quantised(one.matrix) ? 1 : 2;
    return forms;
  };
  std::vector<DecodeLayer> layers;
  int32_t x_bytes[3] = {}, slot_bytes = 0;
  bool fits = F % 32 == 0 && H / K <= 4 && !invariant_;
  const auto needs = [&](size_t place, size_t columns, int32_t forms) {
    const auto chunks = static_cast<int>(div_ceil<size_t>(columns, kTileColumns));
    x_bytes[place] = std::max(x_bytes[place], decode_input_bytes(chunks, forms));
  };
  const auto piece_of = [&](const TileMatrix& m) { slot_bytes = std::max(slot_bytes, decode_piece_bytes(m.type)); };
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const CudaLayer& from = weights_.layers[i];
    DecodeLayer to{};
    to.attn_norm = from.attn_norm;
    to.q_norm = from.q_norm;
    to.k_norm = from.k_norm;
    to.post_attn_norm = from.post_attn_norm;
    to.ffn_norm = from.ffn_norm;
    to.norm_before = i == 0 ? nullptr : weights_.layers[i - 1].post_ffn_norm;
    for (const ProductPart& one : from.qkv) to.qkv[to.qkv_parts++] = part(one);
    for (const ProductPart& one : from.gate_up) to.gate_up[to.gate_up_parts++] = part(one);
    to.attn_out = part(from.attn_out);
    to.down = part(from.down);
    to.k_cache = k_cache_[i];
    to.v_cache = v_cache_[i];
    to.global = from.global ? 1 : 0;
    to.rounded[0] = reads(from.qkv) | reads(from.gate_up);
    to.rounded[1] = reads({&from.attn_out, 1});
    to.rounded[2] = reads({&from.down, 1});
    needs(0, D, to.rounded[0]);
    needs(1, H * E, to.rounded[1]);
    needs(2, F, to.rounded[2]);
    fits = fits && reads(from.gate_up) != 3;
    for (const DecodeStage& stage : stages_of(to)) {
      for (const DecodePart& one : stage.parts) piece_of(one.matrix);
    }
    layers.push_back(to);
  }
  needs(0, D, is_quantised(weights_.head) ? 1 : 2);
  piece_of(weights_.head);
  const int part_items = decode_part_items(layers, weights_.head);
  const auto layout_of = [&](int32_t depth) {
    return decode_layout(config_.width, config_.heads / config_.kv_heads, config_.head_size, part_items, x_bytes,
                         slot_bytes, depth);
  };
  const auto shared_of = [&](int32_t depth) { return static_cast<size_t>(layout_of(depth).bytes); };
  int32_t depth = 0;
  while (depth < kMostPieces && shared_of(depth + 1) <= facts.shared_bytes) ++depth;
  const DecodePlan plan = plan_decode(layers, weights_.head, static_cast<int>(multiprocessors_));
  fits = fits && depth > std::max(plan.apart_layers, plan.apart_head);

  DeviceLayout layout;
  const size_t qkv = layout.add<uint64_t>((H + 2 * K) * E);
  const size_t scores = layout.add<uint64_t>(H * positions);
  const size_t values = layout.add<uint64_t>(H * splits * E);
  const size_t weights = layout.add<uint64_t>(H * splits * 2);
  const size_t attended = layout.add<uint64_t>(H * E);
  const size_t projected = layout.add<uint64_t>(D);
  const size_t down[2] = {layout.add<uint64_t>(D + multiprocessors_), layout.add<uint64_t>(D + multiprocessors_)};
  const size_t gated = layout.add<uint64_t>(F / 32 * 14 + 14);
  const size_t gated_values = layout.add<uint64_t>(F + 32);
  const size_t meeting = layout.add<uint64_t>(2);
  const size_t best = layout.add<uint64_t>(static_cast<size_t>(kHeadRows));
  const size_t stages = layout.add<uint64_t>(kDecodeStages);
  decode_memory_ = {};
  decode_tables_ = {};
  for (HalfStep& half : half_steps_) {
    if (half.landing.bytes() != 0) continue;
    CARAT_TRY(half.landing, DeviceMemory::allocate_host(device_, (1 + kDecodeStages) * sizeof(uint64_t)));
  }
  CARAT_TRY(decode_memory_, DeviceMemory::allocate(device_, layout.bytes(), "decoding"));
  device_.fill(decode_memory_.data(), 0, decode_memory_.bytes());
  const auto words = [&](size_t offset) { return reinterpret_cast<uint64_t*>(decode_memory_.data() + offset); };
  best_ = words(best);
  charged_nanoseconds_ = {};
  DecodeParams& p = decode_;
  p = {};
  if (fits) {
    DeviceLayout tables;
    const size_t layers_at = tables.add<DecodeLayer>(layers.size());
    const size_t shares_at = tables.add<DecodeShares>(plan.shares.size());
    const size_t pieces_at = tables.add<uint64_t>(plan.pieces.size());
    const size_t first_at = tables.add<uint32_t>(plan.first.size());
    const size_t head_at = tables.add<uint32_t>(plan.head.size());
    CARAT_TRY(decode_tables_, DeviceMemory::allocate(device_, tables.bytes(), "decoding"));
    uint8_t* base = decode_tables_.data();
    device_.upload(base + layers_at, layers.data(), layers.size() * sizeof(DecodeLayer));
    device_.upload(base + shares_at, plan.shares.data(), plan.shares.size() * sizeof(DecodeShares));
    device_.upload(base + pieces_at, plan.pieces.data(), plan.pieces.size() * sizeof(uint64_t));
    device_.upload(base + first_at, plan.first.data(), plan.first.size() * sizeof(uint32_t));
    device_.upload(base + head_at, plan.head.data(), plan.head.size() * sizeof(uint32_t));
    CARAT_CHECK(device_.finish());
    p.layers = reinterpret_cast<const DecodeLayer*>(base + layers_at);
    p.shares = reinterpret_cast<const DecodeShares*>(base + shares_at);
    p.pieces = reinterpret_cast<const uint64_t*>(base + pieces_at);
    p.first_piece = reinterpret_cast<const uint32_t*>(base + first_at);
    p.head_piece = reinterpret_cast<const uint32_t*>(base + head_at);
    const bool is_1b = D == 1152 && F == 6912 && H == 4 && K == 1 && E == 256;
    std::ranges::fill(decode_kernel_, is_1b ? kernels_.decode_row_1b : kernels_.decode_row);
    const uint32_t types = types_of(layers, weights_.head);
    const auto take = [&](uint32_t of, std::array<Device::Kernel, 3> its) {
      if (is_1b && (types & ~of) == 0) std::ranges::copy(its, decode_kernel_);
    };
#define CARAT_TAKE(types, name) \
  take(types, {kernels_.decode_near_1b_##name, kernels_.decode_row_1b_##name, kernels_.decode_deep_1b_##name})
    CARAT_TAKE(kTypesOfQ4KM, mixed);
    CARAT_TAKE(type_bit(TileType::kQ4_0), Q4_0);
    CARAT_TAKE(type_bit(TileType::kQ8_0), Q8_0);
    CARAT_TAKE(type_bit(TileType::kBF16), BF16);
#undef CARAT_TAKE
  }
  p.embedding = weights_.embedding;
  p.head = weights_.head;
  p.last_norm = weights_.layers.back().post_ffn_norm;
  p.final_norm = weights_.final_norm;
  for (size_t kind = 0; kind < 2; ++kind) p.frequencies[kind] = weights_.frequencies[kind];
  p.qkv = words(qkv);
  p.scores = words(scores);
  p.values = words(values);
  p.weights = words(weights);
  p.attended = words(attended);
  p.projected = words(projected);
  for (size_t i = 0; i < 2; ++i) p.down[i] = words(down[i]);
  p.gated = words(gated);
  p.gated_values = words(gated_values);
  p.stage_nanoseconds = words(stages);
  p.meeting = words(meeting);
  p.slots = slots_;
  p.epoch = 1;
  p.hidden = at<float>(hidden_);
  p.layer_count = config_.layers;
  p.width = config_.width;
  p.ffn_width = config_.ffn_width;
  p.heads = config_.heads;
  p.kv_heads = config_.kv_heads;
  p.head_size = config_.head_size;
  p.window = config_.window;
  p.vocabulary = config_.vocabulary;
  p.from_slot = kFromSlot;
  p.image_row = kImageRow;
  p.score_stride = static_cast<int32_t>(positions);
  p.split_stride = static_cast<int32_t>(splits);
  p.slot = -1;
  p.layout = layout_of(depth);
  p.slot_bytes = slot_bytes;
  p.flags_of_down = std::max(0, static_cast<int32_t>(multiprocessors_) - weights_.layers[0].down.matrix.groups);
  p.depth = depth;
  p.depth_inverse = inverse_of(std::max(1, depth));
  p.at_once_head = depth - plan.apart_head;
  // Where many blocks read, more than this on its way brings nothing; few blocks need it to keep memory busy.
  constexpr int32_t kQuietBytes = 36 << 10;
  const int32_t quiet = multiprocessors_ >= 64 ? std::max(1, kQuietBytes / slot_bytes) : depth;
  p.at_once_layers = std::min(quiet, depth - plan.apart_layers);
  p.query_scale = config_.query_scale;
  p.embedding_scale = config_.embedding_scale;
  p.epsilon = config_.norm_epsilon;
  decode_shared_bytes_ = fits ? shared_of(depth) : 0;
  return {};
}

// `best`: where the most probable token goes, or null: no head.
void Forward::decode(int32_t position, float* logits, uint64_t* best) {
  DecodeParams& p = decode_;
  if (p.epoch > 0x80000000u) {  // long before an epoch comes again
    device_.fill(decode_memory_.data(), 0, decode_memory_.bytes());
    charged_nanoseconds_ = {};
    p.epoch = 1;
  }
  p.logits = logits;
  p.best = best;
  p.row = row_info_;
  p.landing = reinterpret_cast<uint64_t*>(now_->landing.data());
  p.embeddings = reinterpret_cast<const float*>(step_memory_.data() + embeddings_);
  for (size_t kind = 0; kind < 2; ++kind) {
    p.pages[kind] = pages_[kind];
    p.page_count[kind] = pages_of_row_[kind];
    std::ranges::copy(near_pages_[kind], p.near_pages[kind]);
  }
  Launch how;
  how.grid[0] = multiprocessors_;
  how.threads = kDecodeThreads;
  how.shared_bytes = decode_shared_bytes_;
  how.together = true;
  const int columns = config_.heads * config_.head_size, blocks = static_cast<int>(multiprocessors_);
  const auto few = [&](int32_t first_key) { return decode_few_keys(first_key, position, columns, blocks); };
  const bool near = decode_near_keys(position, config_.window, columns, blocks),
             deep = !few(0) || !few(std::max(0, position - config_.window + 1));
  device_.launch(decode_kernel_[near ? 0 : deep ? 2 : 1], how, &p, sizeof p);
  p.epoch += static_cast<uint32_t>(config_.layers);
}

// The head for one row of hidden.
void Forward::head_row(int32_t row, float* logits, uint64_t* best) {
  DecodeParams p = decode_;
  p.hidden = at<float>(hidden_) + static_cast<size_t>(row) * static_cast<size_t>(config_.width);
  p.logits = logits;
  p.best = best;
  const bool floats = !is_quantised(weights_.head);
  const size_t blocks = div_ceil<size_t>(static_cast<size_t>(config_.width), kTileColumns) * kTileBlocks;
  const auto ring = static_cast<size_t>(kHeadWarps * head_depth(weights_.head.type) *
                                        (tile_format(weights_.head.type).tile_bytes() + 8));
  launch(kernels_.head_row[static_cast<size_t>(weights_.head.type)], p, 2 * multiprocessors_, 1, 1, kHeadThreads,
         (kRowThreads + 32) * sizeof(float) + ring + blocks * (floats ? 128 : 76));
}

// The stages inside the launches since the last call, by the device's clock.
void Forward::charge_decode() {
  constexpr Stage kStages[kDecodeStages] = {Stage::kEmbed,  Stage::kQkv,  Stage::kAttn,  Stage::kAttnOut,
                                            Stage::kGateUp, Stage::kDown, Stage::kLogits};
  for (size_t i = 0; i < kDecodeStages; ++i) {
    stage_seconds_[static_cast<size_t>(kStages[i])] =
        static_cast<double>(stage_nanoseconds_[i] - charged_nanoseconds_[i]) * 1e-9;
  }
  charged_nanoseconds_ = stage_nanoseconds_;
}

// What a launch has left with the host.
void Forward::take_decoded(bool head_too) {
  const auto* words = reinterpret_cast<const uint64_t*>(now_->landing.data());
  if (head_too) keys()[0] = words[0];
  std::copy_n(words + 1, kDecodeStages, stage_nanoseconds_.begin());
}

}  // namespace carat::cuda
