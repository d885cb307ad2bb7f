// One row in one launch (decode.cu): what it needs on the device, the launch, its stages' times; and the head for one row.
#include <algorithm>

#include "backend/cuda/forward.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

bool is_quantised(const TileMatrix& m) { return tile_format(m.type).quantised(); }

}  // namespace

// What decode_row needs beside the buffers of every step: its table of layers, and where blocks tell each other things.
Status Forward::prepare_decode() {
  const auto facts = device_.facts();
  multiprocessors_ = static_cast<uint32_t>(facts.multiprocessors);
  const auto D = static_cast<size_t>(config_.width);
  const auto F = static_cast<size_t>(config_.ffn_width);
  const auto E = static_cast<size_t>(config_.head_size);
  const auto H = static_cast<size_t>(config_.heads);
  const auto K = static_cast<size_t>(config_.kv_heads);
  const auto positions =
      static_cast<size_t>(round_up<int64_t>(
          std::min<int64_t>(int64_t{plan_.global_pages} * kPageTokens, config_.context_length), kSplit)) +
      kSplit;

  const auto part = [](const ProductPart& from) { return DecodePart{from.matrix, from.group_step, from.group_first}; };
  const auto reads = [](std::span<const ProductPart> parts) {
    int32_t forms = 0;
    for (const ProductPart& one : parts) forms |= is_quantised(one.matrix) ? 1 : 2;
    return forms;
  };
  std::vector<DecodeLayer> layers;
  size_t x_bytes = 0;
  const auto needs = [&](size_t columns, int32_t forms) {
    const size_t blocks = div_ceil<size_t>(columns, kTileColumns) * kTileBlocks;
    x_bytes = std::max(x_bytes, ((forms & 2) != 0 ? blocks * 128 : 0) + ((forms & 1) != 0 ? blocks * 76 : 0));
  };
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const CudaLayer& from = weights_.layers[i];
    DecodeLayer to{};
    to.attn_norm = from.attn_norm;
    to.q_norm = from.q_norm;
    to.k_norm = from.k_norm;
    to.post_attn_norm = from.post_attn_norm;
    to.ffn_norm = from.ffn_norm;
    to.post_ffn_norm = from.post_ffn_norm;
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
    needs(D, to.rounded[0]);
    needs(H * E, to.rounded[1]);
    needs(F, to.rounded[2]);
    layers.push_back(to);
  }

  DeviceLayout layout;
  const size_t qkv = layout.add<float>((H + 2 * K) * E);
  const size_t scores = layout.add<float>(H * positions);
  const size_t partials = layout.add<float>(H * (positions / kSplit) * (E + 2));
  const size_t attended = layout.add<float>(H * E);
  const size_t projected = layout.add<float>(D);
  const size_t planes = layout.add<uint8_t>(F * 2 + 256);
  const size_t scales = layout.add<float>(F / 32 + 4);
  const size_t sums = layout.add<int32_t>(F / 16 + 8);
  const size_t values = layout.add<float>(F + 128);
  const size_t stamps = layout.add<uint64_t>(static_cast<size_t>(config_.layers) * kDecodeStamps);
  const size_t counters = layout.add<uint64_t>(static_cast<size_t>(kHeadRows) + 1);
  decode_memory_ = {};
  decode_layers_ = {};
  CARAT_TRY(decode_memory_, DeviceMemory::allocate(device_, layout.bytes(), "decoding"));
  CARAT_TRY(decode_layers_, DeviceMemory::allocate(device_, layers.size() * sizeof(DecodeLayer), "decoding"));
  device_.fill(decode_memory_.data(), 0, decode_memory_.bytes());
  device_.upload(decode_layers_.data(), layers.data(), layers.size() * sizeof(DecodeLayer));
  CARAT_CHECK(device_.finish());

  const auto floats = [&](size_t offset) { return reinterpret_cast<float*>(decode_memory_.data() + offset); };
  DecodeParams& p = decode_;
  p = {};
  p.layers = reinterpret_cast<const DecodeLayer*>(decode_layers_.data());
  p.embedding = weights_.embedding;
  p.head = weights_.head;
  p.final_norm = weights_.final_norm;
  for (size_t kind = 0; kind < 2; ++kind) p.frequencies[kind] = weights_.frequencies[kind];
  p.qkv = floats(qkv);
  p.scores = floats(scores);
  p.partials = floats(partials);
  p.attended = floats(attended);
  p.projected = floats(projected);
  p.gated_planes = decode_memory_.data() + planes;
  p.gated_scales = floats(scales);
  p.gated_sums = reinterpret_cast<int32_t*>(decode_memory_.data() + sums);
  p.gated_values = floats(values);
  p.stamps = reinterpret_cast<uint64_t*>(decode_memory_.data() + stamps);
  p.arrived = reinterpret_cast<uint32_t*>(decode_memory_.data() + counters);
  best_ = reinterpret_cast<uint64_t*>(decode_memory_.data() + counters) + 1;
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
  p.query_scale = config_.query_scale;
  p.embedding_scale = config_.embedding_scale;
  p.epsilon = config_.norm_epsilon;

  // As decode_row carves it.
  const size_t arrays[] = {
      D, D, kRowThreads + 32, E, E, 1024 * 8, 1024, (H + K) * E, 2 * (sizeof(DecodeLayer) + 127) / 128 * 32};
  size_t shared = 0;
  for (const size_t count : arrays) shared += (count + 31) / 32 * 32 * sizeof(float);
  shared += x_bytes;
  const bool fits = F % 32 == 0 && shared <= 160 * 1024 && H / K <= 8;
  decode_shared_bytes_ = fits ? shared : 0;
  return {};
}

void Forward::decode() {
  DecodeParams p = decode_;
  p.row = rows_;
  p.embeddings = reinterpret_cast<const float*>(step_memory_.data() + embeddings_);
  for (size_t kind = 0; kind < 2; ++kind) {
    p.pages[kind] = pages_[kind];
    p.page_count[kind] = page_count_[kind];
  }
  Launch how;
  how.grid[0] = multiprocessors_;
  how.threads = 512;
  how.shared_bytes = decode_shared_bytes_;
  how.together = true;
  device_.launch(kernels_.decode_row, how, &p, sizeof p);
}

// The head for one row of hidden.
void Forward::head_row(int32_t row, float* logits, uint64_t* best) {
  DecodeParams p = decode_;
  p.hidden = at<float>(hidden_) + static_cast<size_t>(row) * static_cast<size_t>(config_.width);
  p.logits = logits;
  p.best = best;
  const bool floats = !is_quantised(weights_.head);
  const size_t blocks = div_ceil<size_t>(static_cast<size_t>(config_.width), kTileColumns) * kTileBlocks;
  launch(kernels_.head_row[static_cast<size_t>(weights_.head.type)], p, 2 * multiprocessors_, 1, 1, 512,
         (kRowThreads + 32) * sizeof(float) + blocks * (floats ? 128 : 76));
}

// The stages inside the one launch, by its own clock.
void Forward::charge_decode() {
  constexpr Stage kStageOf[kDecodeStamps] = {
      Stage::kQkv,    Stage::kQkv,  Stage::kQkv,     Stage::kAttn,    Stage::kAttn,    Stage::kAttn,   Stage::kAttn,
      Stage::kAttn,   Stage::kAttn, Stage::kAttnOut, Stage::kAttnOut, Stage::kAttnOut, Stage::kGateUp, Stage::kGateUp,
      Stage::kGateUp, Stage::kDown, Stage::kDown,    Stage::kDown,    Stage::kDown,    Stage::kDown};
  uint64_t before = stamps_[0];
  for (size_t i = 1; i < stamps_.size(); ++i) {
    const uint64_t now = stamps_[i];
    if (now <= before) continue;  // a meeting that this layer did not need
    const size_t stage = i % kDecodeStamps == 0 ? kDecodeStamps - 1 : i % kDecodeStamps - 1;
    stage_seconds_[static_cast<size_t>(kStageOf[stage])] += static_cast<double>(now - before) * 1e-9;
    before = now;
  }
}

}  // namespace carat::cuda
