// Two passes over one list of pieces: the first adds the sizes, the second, with the memory there, sets the pointers.
#include "backend/cpu/forward_buffers.h"

#include <algorithm>

namespace carat::cpu {
namespace {

struct ActivationOffsets {
  size_t values, ints, scales, sums, factors, tiles;
};

ActivationOffsets add_activations(Layout& layout, size_t rows, size_t columns, bool tiles) {
  return {layout.add<float>(rows * columns),
          layout.add<int16_t>(rows * columns),
          layout.add<float>(rows * (columns / 32 + 1)),
          layout.add<int32_t>(rows * columns / 16),
          layout.add<float>(rows),
          layout.add<uint8_t>(tiles ? (rows + 15) / 16 * (columns / 32) * kTiledBlockBytes : 0)};
}

Activations activations(uint8_t* base, const ActivationOffsets& at, int64_t columns, bool tiles) {
  Activations x;
  x.values = reinterpret_cast<float*>(base + at.values);
  x.ints = reinterpret_cast<int16_t*>(base + at.ints);
  x.scales = reinterpret_cast<float*>(base + at.scales);
  x.sums = reinterpret_cast<int32_t*>(base + at.sums);
  x.columns = columns;
  if (tiles) x.tiles = base + at.tiles;
  return x;
}

struct ScratchOffsets {
  size_t sums, sums_2, panel, scores, part, running;
};

struct Offsets {
  Layout layout;
  ActivationOffsets norm, attended, gated;
  size_t hidden, projected, query, key, value, rope;
  std::vector<ScratchOffsets> scratch;
};

Offsets lay_out(const ModelPack& m, int64_t max_rows, int workers, bool tiles) {
  const auto T = static_cast<size_t>(max_rows);
  const auto D = static_cast<size_t>(m.width);
  const auto E = static_cast<size_t>(m.head_size);
  const size_t HE = static_cast<size_t>(m.heads) * E;
  const size_t KE = static_cast<size_t>(m.kv_heads) * E;
  Offsets at{};
  Layout& layout = at.layout;
  at.norm = add_activations(layout, T, D, tiles);
  at.attended = add_activations(layout, T, HE, tiles);
  at.gated = add_activations(layout, T, static_cast<size_t>(m.ffn_width), tiles);
  at.hidden = layout.add<float>(T * D);
  at.projected = layout.add<float>(T * D);
  at.query = layout.add<float>(T * HE);
  at.key = layout.add<float>(T * KE);
  at.value = layout.add<float>(T * KE);
  at.rope = layout.add<float>(2 * 4 * T * E / 2);
  for (int worker = 0; worker < workers; ++worker) {
    const size_t rows = std::max<size_t>(T, 4) * kPanelRows;
    at.scratch.push_back({layout.add<float>(2 * rows), layout.add<float>(rows), layout.add<uint8_t>(kPanelScratchBytes),
                          layout.add<float>(size_t{kTileRows} * kSplitKeys), layout.add<float>(kTileRows * E),
                          layout.add<float>(kTileRows * (E + 16))});
  }
  return at;
}

}  // namespace

size_t ForwardBuffers::bytes(const ModelPack& model, int64_t max_rows, int workers, bool tiles) {
  return lay_out(model, max_rows, workers, tiles).layout.bytes();
}

Status ForwardBuffers::allocate(const ModelPack& m, int64_t max_rows, int workers, bool tiles) {
  const Offsets at = lay_out(m, max_rows, workers, tiles);
  arena_ = Arena();
  CARAT_TRY(arena_, Arena::allocate(at.layout.bytes(), "activations"));
  width_ = m.width;
  tiles_ = tiles;
  uint8_t* base = arena_.data();
  const auto floats = [&](size_t offset) { return reinterpret_cast<float*>(base + offset); };
  norm_ = activations(base, at.norm, m.width, tiles);
  norm_.factors = floats(at.norm.factors);
  attended_ = activations(base, at.attended, int64_t{m.heads} * m.head_size, tiles);
  gated_ = activations(base, at.gated, m.ffn_width, tiles);
  hidden_ = floats(at.hidden);
  projected_ = floats(at.projected);
  query_ = floats(at.query);
  key_ = floats(at.key);
  value_ = floats(at.value);
  rope_ = floats(at.rope);
  rope_floats_ = static_cast<size_t>(max_rows) * static_cast<size_t>(m.head_size) / 2;
  scratch_.clear();
  for (const ScratchOffsets& s : at.scratch) {
    scratch_.push_back(
        {floats(s.sums), floats(s.sums_2), base + s.panel, floats(s.scores), floats(s.part), floats(s.running)});
  }
  last_rows_ = 0;
  return {};
}

void ForwardBuffers::reserve_last(int64_t rows) {
  if (rows <= last_rows_) return;
  Layout layout;
  const auto at = add_activations(layout, static_cast<size_t>(rows), static_cast<size_t>(width_), tiles_);
  last_storage_.resize(layout.bytes() + 64);
  const auto address = reinterpret_cast<uintptr_t>(last_storage_.data());
  uint8_t* base = last_storage_.data() + (64 - address % 64) % 64;
  last_ = activations(base, at, width_, tiles_);
  last_.factors = reinterpret_cast<float*>(base + at.factors);
  last_rows_ = rows;
}

void ForwardBuffers::put_into(ForwardContext& context, int half) const {
  context.norm = norm_;
  context.attended = attended_;
  context.gated = gated_;
  context.last = last_;
  context.hidden = hidden_;
  context.projected = projected_;
  context.query = query_;
  context.key = key_;
  context.value = value_;
  context.scratch = const_cast<Scratch*>(scratch_.data());
  for (const LayerKind kind : kLayerKinds) {
    context.rope_cos[kind] = rope_cos(half, kind);
    context.rope_sin[kind] = rope_sin(half, kind);
  }
}

}  // namespace carat::cpu
