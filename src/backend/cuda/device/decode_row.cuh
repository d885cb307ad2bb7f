// One row through the whole model in one launch: a block on every multiprocessor.
//   per layer: qkv | scores | values | (splits, where there are many) | attn_out | gate_up | down      then the head
// No meeting of all blocks: what one block tells the others are words that carry the epoch of their layer, and whoever needs
// a word looks at it until its epoch has come. What a stage reads of the others' results every block prepares for itself in
// shared memory (norms, the rounding).
//   A block has nine warps that compute and one that brings the weights of all stages, in order, through a ring in shared memory:
// weights never wait for activations. Of each piece a worker multiplies one tile. Four workers prepare a product's input while
// the others wait, and finish its outputs while the others wait for the next one's.
//   A word is written again one layer later, by a block that has seen every block's words of `down` (those without a share
// write a flag), and these are written when a block's workers have read all else of its layer. `down` has two places in turns.
#pragma once

#include "backend/cuda/device/decode_deep.cuh"
#include "backend/cuda/device/decode_product.cuh"

namespace carat::cuda {

// The row's hidden state before the first layer, by the preparing warps: thread t has the columns t + 128 k.
struct DecodeEmbed {
  const Decode& d;
  int id;
  template <TileType kType>
  CARAT_METHOD void run() const {
    const TileMatrix& table = d.p.embedding;
    for (int i = thread_index(); i < d.p.width; i += kRowThreads) {
      const uint8_t* tile = table.data + (static_cast<int64_t>(id / kTileRows) * table.chunks + i / kTileColumns) *
                                             tile_format(kType).tile_bytes();
      d.hidden[i] = tile_element_of<kType>(tile, id % kTileRows, i % kTileColumns) * d.p.embedding_scale;
    }
  }
};
CARAT_DEVICE void decode_embed(const Decode& d, const RowInfo& info) {
  const DecodeParams& p = d.p;
  const int warp = warp_index();
  if (warp >= kPreparing) {  // angles, meanwhile
    const int E = p.head_size;
    for (int i = thread_index() - kRowThreads; i < E; i += kWorkerThreads - kRowThreads) {
      const int kind = i / (E / 2);
      rope_angle(static_cast<double>(info.position) * p.frequencies[kind][i % (E / 2)], d.cosines + i, d.sines + i);
    }
    return;
  }
  int id = info.token;
  if (id >= p.from_slot) id = p.slots[id - p.from_slot];
  if (info.token < p.from_slot && info.token >= p.image_row) {
    for (int i = thread_index(); i < p.width; i += kRowThreads) {
      d.hidden[i] = p.embeddings[static_cast<int64_t>(info.token - p.image_row) * p.width + i];
    }
  } else {
    for_type(p.embedding.type, DecodeEmbed{d, id});
  }
}

// What attention left, as the input of attn_out: by the preparing warps.
template <int kShape, bool kHalves>
CARAT_DEVICE void take_attended(const DecodeParams& p, const DecodeInput& x, uint32_t epoch) {
  const int t = thread_index(), columns = Sizes<kShape>::heads(p) * Sizes<kShape>::head_size(p);
  const int chunks = (columns + kTileColumns - 1) / kTileColumns;
  CARAT_UNROLL_1 for (int first = 0; first < chunks; first += kPrepared) {
    float value[kPrepared] = {};
    const auto column = [&](int k) { return (first + k) * kRowThreads + t; };
    hear<kPrepared>(
        value, epoch, [&](int k) { return column(k) < columns; }, [&](int k) { return p.attended + column(k); });
    if (x.integers) round_columns<kHalves>(x, chunks, first, warp_index(), value);
    if (x.floats) {
      CARAT_UNROLL for (int k = 0; k < kPrepared; ++k) {
        if (first + k < chunks) x.values[column(k)] = value[k];
      }
    }
  }
}

// The last block that comes here has seen every block's best.
CARAT_DEVICE void decode_best(const DecodeParams& p, uint64_t best) {
  warp_barrier();
  CARAT_UNROLL for (int width = 16; width > 0; width /= 2) {
    const uint64_t other = from_lane_xor(best, width);
    best = other > best ? other : best;
  }
  if (lane_index() == 0) atomic_max(p.meeting, best);
  team_barrier(kTeamReady, kWorkerThreads);
  if (thread_index() != 0) return;
  if (atomic_add(p.meeting + 1, 1) != gridDim.x - 1) return;
  const uint64_t all = load_fresh(p.meeting);
  *p.best = all;
  if (p.slot >= 0) p.slots[p.slot] = static_cast<int32_t>(~static_cast<uint32_t>(all));
  p.meeting[0] = 0;
  p.meeting[1] = 0;
}

// Where there are many keys or few blocks. Not part of the usual layer's code.
CARAT_OUTLINE void decode_deep(Decode d, const DecodeLayer* layer, DecodeKeys keys, uint32_t epoch, ValueMemory m) {
  decode_deep_values(d, *layer, keys, epoch, m);
  decode_combine(d.p, keys, epoch);
}

// kOne: the type of all matrices of all layers and of the head, or kTileTypes. kShape: see Sizes.
template <int kOne, int kShape>
CARAT_DEVICE void decode_one_row(const DecodeParams& p) {
  using S = Sizes<kShape>;
  const int D = S::width(p), E = S::head_size(p), heads = S::heads(p), group = heads / S::kv_heads(p), warp = warp_index();
  constexpr bool kHalves = kOne >= kTileTypes || tile_format(static_cast<TileType>(kOne < kTileTypes ? kOne : 0)).subs == 2;
  const DecodeLayout l = decode_layout(D, group, E, p.x_bytes, p.slot_bytes, p.depth);
  uint8_t* shared = shared_memory();
  WeightRing ring{l.slots, l.arrivals, p.depth, p.slot_bytes, 0, 0};
  if (thread_index() == 0) ring.begin();
  block_barrier();
  if (warp == kWorkers) return bring_weights(p, ring);

  const auto floats = [&](int at) { return reinterpret_cast<float*>(shared + at); };
  const Decode d{p, floats(l.hidden), floats(l.y), floats(l.angles), floats(l.angles) + E, floats(l.scratch), floats(l.heads),
                 reinterpret_cast<uint32_t*>(shared + l.gated), reinterpret_cast<uint64_t*>(shared + l.since)};
  float* const quarters = floats(l.attention);
  float* const values = floats(l.attention + kQuartersBytes);
  float* const tops = floats(l.attention + kQuartersBytes + group * kValuesBytes);
  const ValueMemory value_memory{values, values + kFewGroups * 32, tops, tops + 64, reinterpret_cast<uint32_t*>(tops + 128),
                                 shared + l.parts + kPartItems * 32};
  auto* layers = reinterpret_cast<DecodeLayer*>(shared + l.layers);
  static_assert(sizeof(DecodeLayer) % 8 == 0, "copied in words");
  auto* shares = reinterpret_cast<DecodeShares*>(layers + 3);
  const int grid = static_cast<int>(gridDim.x), takers = grid < 32 ? kWorkers : kPreparing;
  const auto fetch_layer = [&](int index) {  // its description, into one of three places, by a warp; then this block's shares
    const auto* from = reinterpret_cast<const uint64_t*>(p.layers + index);
    auto* to = reinterpret_cast<uint64_t*>(layers + index % 3);
    for (int i = lane_index(); i < static_cast<int>(sizeof(DecodeLayer) / 8); i += 32) to[i] = from[i];
    warp_barrier();
    const DecodeLayer& layer = layers[index % 3];
    const int stage = lane_index() / 4, part = lane_index() % 4;
    if (stage < 4 && part < 3) {
      const DecodePart* parts = stage == 0 ? layer.qkv : stage == 1 ? &layer.attn_out : stage == 2 ? layer.gate_up : &layer.down;
      const int count = stage == 0 ? layer.qkv_parts : stage == 2 ? layer.gate_up_parts : 1;
      const int unit = stage == 2 ? decode_gated_unit(count) : 1;
      DecodeShares& of_stage = shares[index % 3 * 4 + stage];
      if (part < count) of_stage.of[part] = decode_share(parts[part].matrix.groups, unit, static_cast<int>(blockIdx.x), grid, part);
      if (part == 0) of_stage.round = decode_round(parts[0].matrix.chunks, count, unit);
    }
  };
  if (thread_index() == 0) {
    for (int i = 0; i <= kDecodeStages; ++i) d.since[i] = 0;
  }
  d.stamp(-1);
  const RowInfo info = *p.row;
  if (warp == kWorkers - 1) fetch_layer(0);
  decode_embed(d, info);
  team_barrier(kTeamReady, kWorkerThreads);
  d.stamp(0);

  const int flags_of_down = most(0, grid - layers[0].down.matrix.groups);
  const bool preparing = warp < kPreparing;
  const float* before = nullptr;  // the norm that closes the layer before
  const int last = p.layer_count;
  // A stage: its input is prepared, its product computed, its outputs told. All stages by the same code, which is small then.
  //   0 qkv, 1 attention and attn_out, 2 gate_up, 3 down; after the layers 0 once more: the head
  CARAT_UNROLL_1 for (int index = 0, stage = 0;; stage = (stage + 1) % 4) {
    const DecodeLayer& layer = layers[index % 3];
    const uint32_t epoch = p.epoch + static_cast<uint32_t>(index);
    const bool head = index == last;
    const bool floats_of_head = !tile_format(p.head.type).quantised();
    DecodeInput x;
    if (stage == 1) {
      const int kind = layer.global;
      DecodeKeys keys{p.pages[kind], *p.page_count[kind], info.position, 0, false};
      if (kind == 0) keys.first_key = most(0, info.position - p.window + 1);
      keys.few = keys.groups() <= kFewGroups && heads * E <= 2 * kValueColumns * grid;
      decode_scores<kShape>(d, layer, keys, epoch, quarters);
      if (keys.few) {
        decode_few_values<kShape>(d, layer, keys, epoch, value_memory);
      } else {
        decode_deep(d, &layer, keys, epoch, value_memory);
      }
      x.begin(l.x[0], heads * E, layer.rounded[1]);
      if (preparing) take_attended<kShape, kHalves>(p, x, epoch);
    } else if (stage == 3) {
      x.begin(l.x[1], S::between(p), layer.rounded[2]);
      take_gated(p, x, epoch);
    } else {
      x.begin(l.x[0], D, !head ? layer.rounded[0] : floats_of_head ? 2 : 1);
      const bool first = stage == 0;
      if (preparing) {
        d.template take_hidden<kShape, kHalves>(x, !first ? p.projected : index == 0 ? nullptr : p.down[(index - 1) % 2],
                                       first ? flags_of_down : 0, first ? epoch - 1 : epoch, first ? before : layer.post_attn_norm,
                                       head ? p.final_norm : first ? layer.attn_norm : layer.ffn_norm);
      } else if (warp == kWorkers - 1 && first && index + 1 < last) {
        fetch_layer(index + 1);  // nobody looks at the one two layers before any more
      }
    }
    if (head) {
      if (preparing && blockIdx.x == 0) {  // any block could
        for (int i = thread_index(); i < D; i += kRowThreads) p.hidden[i] = d.hidden[i];
      }
      if (blockIdx.x == 0 && thread_index() == 0) {
        for (int i = 0; i < kDecodeStages; ++i) p.stage_nanoseconds[i] += d.since[1 + i];
      }
      if (p.best == nullptr) return;
    }
    // Between gate and down a warp may multiply what it has brought itself.
    if (stage != 3 || x.chunks % kWorkers != 0) team_barrier(kTeamReady, kWorkerThreads);
    if (stage == 1) d.stamp(2);
    const DecodePart of_head{p.head, 1, 0};
    const DecodePart* stage_parts = head ? &of_head : stage == 0 ? layer.qkv : stage == 1 ? &layer.attn_out : stage == 2 ? layer.gate_up : &layer.down;
    const int count = head ? 1 : stage == 0 ? layer.qkv_parts : stage == 2 ? layer.gate_up_parts : 1;
    const int stage_takers = head ? kWorkers : takers;
    DecodeShares of_stage = shares[index % 3 * 4 + stage];
    if (head) {
      of_stage = {{decode_share(p.head.groups, 1, static_cast<int>(blockIdx.x), grid, 0), {}, {}}, decode_round(x.chunks, 1, 1)};
    }
    const float factor = stage % 2 == 0 && warp < stage_takers ? d.factor(D) : 1.0f;
    uint64_t best = 0;
    uint64_t* words = stage == 0 ? p.qkv : stage == 1 ? p.projected : p.down[index % 2];
    stage_product<kOne>(
        ring, stage_parts, count, of_stage, x, floats(l.parts + stage % 2 * kPartItems * 32), stage_takers,
        [&](int i, const DecodeShare& share, int first, int now, const float* segments) {
          if (stage == 2) {
            TellGated{d, layer, epoch, x.chunks, takers, factor}(i, share, first, now, segments);
          } else if (head) {
            TakeLogits{p, x.chunks, floats_of_head ? 1.0f : factor, &best}(i, share, first, now, segments);
          } else {
            TellOutputs{stage_parts, words, epoch, x.chunks, takers * 32, factor}(i, share, first, now, segments);
          }
        });
    if (head) return decode_best(p, best);
    if (stage == 3) {
      if (thread_index() == 0) {
        // Blocks without a share say that they have read all of the layer: they have come to their totals' barrier.
        const DecodeShare share = of_stage.of[0];
        if (share.slots == 0) {
          const int flag = static_cast<int>(blockIdx.x) - share.first;  // how many blocks before this one have none
          tell(p.down[index % 2] + D + flag, 0.0f, epoch);
        }
      }
      before = layer.post_ffn_norm;
      ++index;
    }
    d.stamp(stage == 0 ? 1 : stage + 2);
  }
}

}  // namespace carat::cuda
