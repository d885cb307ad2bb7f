// One row through the whole model in one launch: a block on every multiprocessor.
//   per layer: qkv | scores | values | (splits, where there are many) | attn_out | gate_up | down      then the head (head.cu)
// No meeting of all blocks: what one block tells the others are words that carry the epoch of their layer, and whoever needs
// a word looks at it until its epoch has come. What a stage reads of the others' results every block prepares for itself in
// shared memory (norms, the rounding).
//   Weights never wait for activations: each warp has a ring of tiles in shared memory, filled in the order in which it will
// multiply them, over all stages and layers.
//   A word is written again one layer later, by a block that has seen every block's words of `down` (those without a share
// write a flag), and these are written when a block has read all else of its layer. `down` itself has two places in turns.
#include "backend/cuda/device/decode_attention.cuh"

namespace carat::cuda {

// The block's groups of a stage, kUnit neighbours at a time: take(part, share, first slot, slots, part[slot][chunk][8]) is called
// for each part by all threads, when its segments are there.
template <int kUnit, class Take>
CARAT_DEVICE void stage_product(const Decode& d, const DecodePart* parts, int count, const Rounded& x, Take take) {
  const int block = static_cast<int>(blockIdx.x), grid = static_cast<int>(gridDim.x);
  const int integers = static_cast<int>(x.planes - shared_memory());
  const int floats = static_cast<int>(reinterpret_cast<uint8_t*>(x.values) - shared_memory());
  const int round = decode_round(x.chunks, count, kUnit);
  bool more = true;
  for (int first = 0; more; first += round) {
    more = false;
    int base = 0;
    for (int i = 0; i < count; ++i) {
      const DecodeShare share = decode_share(parts[i].matrix.groups, kUnit, block, grid);
      const int items = most(0, least(round, share.slots - first)) * x.chunks;
      more = more || share.slots > first + round;
      part_items(parts[i].matrix.type, d.ring, integers, floats, x.chunks, (warp_index() - base) & (kDecodeWarps - 1), items,
                 d.part + base * 8);
      base += items;
    }
    block_barrier();
    base = 0;
    for (int i = 0; i < count; ++i) {
      const DecodeShare share = decode_share(parts[i].matrix.groups, kUnit, block, grid);
      const int now = most(0, least(round, share.slots - first));
      take(parts[i], share, first, now, d.part + base * 8);
      base += now * x.chunks;
    }
    if (more) block_barrier();
  }
}

// One output of a group: its segments in order.
CARAT_DEVICE float total_of(const float* part, int chunks) {
  float total = part[0];
  CARAT_UNROLL_8 for (int c = 1; c < chunks; ++c) total = total + part[c * 8];
  return total;
}

struct TellOutputs {
  uint64_t* words;
  uint32_t epoch;
  const Rounded& x;
  CARAT_METHOD void operator()(const DecodePart& part, const DecodeShare& share, int first, int now, const float* segments) const {
    const float factor = tile_format(part.matrix.type).quantised() ? x.factors[0] : 1.0f;
    for (int i = thread_index(); i < now * 8; i += kDecodeThreads) {
      const int group = share.group(first + i / 8, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
      const float total = factor * total_of(segments + i / 8 * x.chunks * 8 + i % 8, x.chunks);
      if (group * kTileRows + i % 8 < part.matrix.rows) {
        tell(words + (group * part.group_step + part.group_first) * kTileRows + i % 8, total, epoch);
      }
    }
  }
};

// gelu(gate) * up of 32 neighbours, rounded to a block by the warp that has them. Gate and up come as one part, in turns of
// groups, or as two.
struct TellGated {
  const Decode& d;
  uint32_t epoch;
  const Rounded& x;
  int parts, rounded;

  CARAT_METHOD void operator()(const DecodePart& part, const DecodeShare& share, int first, int now, const float* segments) const {
    if (part.group_first != 0) return;  // up: with gate
    const int lane = lane_index(), row = lane % 8, stride = x.chunks * 8;
    const float factor = tile_format(part.matrix.type).quantised() ? x.factors[0] : 1.0f;
    const int unit = share.unit;
    const float* ups = parts == 1 ? segments + stride : segments + now * stride;
    const int step = parts == 1 ? 2 : 1;
    for (int set = warp_index(); set < now / unit; set += kDecodeWarps) {
      const int at = (set * unit + lane / 8 * step) * stride + row;
      const float gate = factor * total_of(segments + at, x.chunks), up = factor * total_of(ups + at, x.chunks);
      const float value = gelu(gate) * up;
      const int block = share.group(first + set * unit, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x)) / unit;
      if ((rounded & 1) != 0) {
        uint32_t* words = d.gated + warp_index() * 32;
        Rounded out{};
        out.planes = reinterpret_cast<uint8_t*>(words);
        out.scales = reinterpret_cast<float*>(words + 16);
        out.sums = reinterpret_cast<int32_t*>(words + 17);
        round_block(out, 0, 0, value);
        warp_barrier();
        if (lane < 7) {
          const Words4 three{words[3 * lane], words[3 * lane + 1], words[3 * lane + 2], epoch};
          store_fresh(static_cast<Words4*>(d.p.gated) + block * 7 + lane, three);
        }
        warp_barrier();
      }
      if ((rounded & 2) != 0) tell(d.p.gated_values + block * 32 + lane, value, epoch);
    }
  }
};

// What gate_up left, as the input of down.
CARAT_DEVICE Rounded take_gated(const Decode& d, uint32_t epoch, int rounded) {
  const DecodeParams& p = d.p;
  const Rounded x = d.input(p.ffn_width, rounded, false);
  const int blocks = x.chunks * kTileBlocks, filled = p.ffn_width / 32, lane = lane_index();
  if (x.integers != 0) {
    const auto* words = static_cast<const Words4*>(p.gated);
    auto* planes = reinterpret_cast<uint32_t*>(x.planes);
    constexpr int kAtOnce = 3;
    for (int first = warp_index() * 32; first < filled * 7; first += kAtOnce * kDecodeThreads) {
      Words4 v[kAtOnce] = {};
      bool all;
      do {
        all = true;
        CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {
          const int i = first + k * kDecodeThreads + lane;
          if (i >= filled * 7) continue;
          v[k] = load_fresh(words + i);
          all = all && v[k].w == epoch;
        }
      } while (!warp_all(all));
      CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {
        const int i = first + k * kDecodeThreads + lane, block = i / 7, piece = i % 7;
        if (i >= filled * 7) continue;
        const uint32_t three[3] = {v[k].x, v[k].y, v[k].z};
        CARAT_UNROLL for (int j = 0; j < 3; ++j) {
          const int word = 3 * piece + j;
          if (word < 16) planes[block * 16 + word] = three[j];
          if (word == 16) x.scales[block] = bits_to_float(three[j]);
          if (word == 17 || word == 18) x.sums[block * 2 + word - 17] = static_cast<int32_t>(three[j]);
        }
      }
    }
    for (int i = filled * 16 + thread_index(); i < blocks * 16; i += kDecodeThreads) planes[i] = 0;
    for (int i = filled + thread_index(); i < blocks; i += kDecodeThreads) x.scales[i] = 0.0f;
    for (int i = filled * 2 + thread_index(); i < blocks * 2; i += kDecodeThreads) x.sums[i] = 0;
  }
  if (x.floats != 0) {
    for (int first = warp_index() * 32; first < blocks * 32; first += kOwnBlocks * kDecodeThreads) {
      const auto column = [&](int k) { return first + k * kDecodeThreads + lane; };
      float value[kOwnBlocks] = {};
      hear<kOwnBlocks>(
          value, epoch, [&](int k) { return column(k) < p.ffn_width; }, [&](int k) { return p.gated_values + column(k); });
      CARAT_UNROLL for (int k = 0; k < kOwnBlocks; ++k) {
        if (column(k) < blocks * 32) x.values[column(k)] = value[k];
      }
    }
  }
  block_barrier();
  return x;
}

struct DecodeEmbed {
  const Decode& d;
  int id;
  template <TileType kType>
  CARAT_METHOD void run() const {
    const TileMatrix& table = d.p.embedding;
    for (int i = thread_index(); i < d.p.width; i += kDecodeThreads) {
      const uint8_t* tile = table.data + (static_cast<int64_t>(id / kTileRows) * table.chunks + i / kTileColumns) *
                                             tile_format(kType).tile_bytes();
      d.hidden[i] = tile_element_of<kType>(tile, id % kTileRows, i % kTileColumns) * d.p.embedding_scale;
    }
  }
};

CARAT_KERNEL(decode_row, DecodeParams, kDecodeThreads, 1) {
  const int E = p.head_size, D = p.width, warp = warp_index();
  const DecodeLayout l = decode_layout(D, p.heads / p.kv_heads, E, p.x_bytes, p.slot_bytes, p.depth);
  uint8_t* shared = shared_memory();
  DecodeRing ring{};
  const int of_all = static_cast<int>(blockIdx.x) * kDecodeWarps + warp;
  ring.source.tiles = p.tiles;
  ring.source.begun = ring.source.next = p.first_tile[of_all];
  ring.source.end = p.first_tile[of_all + 1];
  ring.source.begin();
  ring.begin(l.slots + warp * p.depth * p.slot_bytes, l.arrivals + warp * p.depth * 8, p.depth, p.slot_bytes);

  const auto floats = [&](int at) { return reinterpret_cast<float*>(shared + at); };
  Decode d{p, &ring, floats(l.hidden), floats(l.y), floats(l.angles), floats(l.angles) + E, floats(l.scratch), floats(l.heads),
           floats(l.part), reinterpret_cast<uint32_t*>(shared + l.gated), shared + l.x};
  auto* layers = reinterpret_cast<DecodeLayer*>(shared + l.layers);
  static_assert(sizeof(DecodeLayer) % 8 == 0, "copied in words");
  const auto fetch_layer = [&](int index) {  // its description, into one of two places
    const auto* from = reinterpret_cast<const uint64_t*>(p.layers + index);
    auto* to = reinterpret_cast<uint64_t*>(layers + index % 2);
    for (int i = thread_index(); i < static_cast<int>(sizeof(DecodeLayer) / 8); i += kDecodeThreads) to[i] = from[i];
  };
  NormPlaces places{decode_norm_floats(D, E) != 0 ? floats(l.norms) : nullptr, reinterpret_cast<uint64_t*>(shared + l.norm_arrivals), D, E};
  if (thread_index() == 0) {
    d.scratch[129] = 1.0f;
    arrival_init(places.arrivals, 1);
    arrival_init(places.arrivals + 1, 1);
    arrival_fence();
  }
  fetch_layer(0);
  places.fetch(p.layers[0], 0);

  const RowInfo info = *p.row;
  for (int i = thread_index(); i < E; i += kDecodeThreads) {
    const int kind = i / (E / 2);
    rope_angle(static_cast<double>(info.position) * p.frequencies[kind][i % (E / 2)], d.cosines + i, d.sines + i);
  }
  int id = info.token;
  if (id >= p.from_slot) id = p.slots[id - p.from_slot];
  if (info.token < p.from_slot && info.token >= p.image_row) {
    for (int i = thread_index(); i < D; i += kDecodeThreads) {
      d.hidden[i] = p.embeddings[static_cast<int64_t>(info.token - p.image_row) * D + i];
    }
  } else {
    for_type(p.embedding.type, DecodeEmbed{d, id});
  }
  block_barrier();

  const int flags_of_down = most(0, static_cast<int>(gridDim.x) - p.layers[0].down.matrix.groups);
  const float* before = nullptr;  // the norm that closes the layer before
  for (int index = 0; index < p.layer_count; ++index) {
    const DecodeLayer& layer = layers[index % 2];
    d.stamp(index, 0);
    const uint32_t epoch = p.epoch + static_cast<uint32_t>(index);
    const int kind = layer.global;
    DecodeKeys keys{p.pages[kind], *p.page_count[kind], info.position, 0};
    if (kind == 0) keys.first_key = most(0, info.position - p.window + 1);
    const int splits = info.position / kSplit - keys.first_key / kSplit + 1;

    const DecodeNorms norms = places.take(layer, index);
    Rounded x = d.take_hidden(index == 0 ? nullptr : p.down[(index - 1) % 2], flags_of_down, epoch - 1,
                              before, norms.attn, layer.rounded[0]);
    if (index + 1 < p.layer_count) {  // nobody looks at the one before any more
      fetch_layer(index + 1);
      places.fetch(p.layers[index + 1], index + 1);
    }
    d.stamp(index, 1);
    stage_product<1>(d, layer.qkv, layer.qkv_parts, x, TellOutputs{p.qkv, epoch, x});
    d.stamp(index, 2);

    decode_scores(d, layer, norms, keys, epoch);
    d.stamp(index, 3);
    decode_values(d, layer, keys, splits, epoch);
    d.stamp(index, 4);
    x = take_attended(d, splits, epoch, layer.rounded[1]);
    d.stamp(index, 5);
    stage_product<1>(d, &layer.attn_out, 1, x, TellOutputs{p.projected, epoch, x});
    d.stamp(index, 6);

    x = d.take_hidden(p.projected, 0, epoch, norms.post_attn, norms.ffn, layer.rounded[0]);
    d.stamp(index, 7);
    const TellGated gated{d, epoch, x, layer.gate_up_parts, layer.rounded[2]};
    if (layer.gate_up_parts == 1) {
      stage_product<8>(d, layer.gate_up, 1, x, gated);
    } else {
      stage_product<4>(d, layer.gate_up, 2, x, gated);
    }
    d.stamp(index, 8);

    x = take_gated(d, epoch, layer.rounded[2]);
    d.stamp(index, 9);
    stage_product<1>(d, &layer.down, 1, x, TellOutputs{p.down[index % 2], epoch, x});
    const int flag = static_cast<int>(blockIdx.x) - layer.down.matrix.groups;
    if (flag >= 0 && thread_index() == 0) tell(p.down[index % 2] + D + flag, 0.0f, epoch);
    before = norms.post_ffn;
    d.stamp(index, 10);
  }
  // The last of hidden: any block could, one does.
  if (blockIdx.x != 0) return;
  const int last = p.layer_count - 1;
  d.take_hidden(p.down[last % 2], flags_of_down, p.epoch + static_cast<uint32_t>(last), before, p.final_norm, 1);
  for (int i = thread_index(); i < D; i += kDecodeThreads) p.hidden[i] = d.hidden[i];
}

}  // namespace carat::cuda
