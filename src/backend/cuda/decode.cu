// One row through the whole model in one launch: a block on every multiprocessor.
//   per layer: qkv | scores | values | (splits, where there are many) | attn_out | gate_up | down      then the head (head.cu)
// No meeting of all blocks: what one block tells the others are words that carry the epoch of their layer, and whoever needs
// a word looks at it until its epoch has come. What a stage reads of the others' results every block prepares for itself in
// shared memory (norms, the rounding).
//   Weights never wait for activations: each warp has a ring of tiles in shared memory, filled in the order in which it will
// multiply them, over all stages and layers.
//   A word is written again one layer later, by a block that has seen every block's words of `down` (those without a share
// write a flag), and these are written when a block has read all else of its layer. `down` itself has two places in turns.
#include "backend/cuda/device/attention.cuh"
#include "backend/cuda/device/product.cuh"
#include "backend/cuda/device/ring.cuh"
#include "backend/cuda/device/rope.cuh"

namespace carat::cuda {

inline constexpr int kFewSplits = 4;  // so many splits every block puts together for itself
inline constexpr int kOwnBlocks = 3;  // blocks of 32 columns that a warp asks for at once

CARAT_DEVICE uint64_t word_of(float value, uint32_t epoch) { return static_cast<uint64_t>(epoch) << 32 | float_bits(value); }
CARAT_DEVICE void tell(uint64_t* word, float value, uint32_t epoch) { store_fresh(word, word_of(value, epoch)); }

// A whole warp's: waits for `kCount` words a lane, of which a lane wants those with want(k).
template <int kCount, class Want, class Place>
CARAT_DEVICE void hear(float* values, uint32_t epoch, Want want, Place place) {
  bool all;
  do {
    all = true;
    CARAT_UNROLL for (int k = 0; k < kCount; ++k) {
      if (!want(k)) continue;
      const uint64_t word = load_fresh(place(k));
      values[k] = bits_to_float(static_cast<uint32_t>(word));
      all = all && static_cast<uint32_t>(word >> 32) == epoch;
    }
  } while (!warp_all(all));
}

// Tiles in the order of a list, which a lane holds 32 entries apart.
struct ListedTiles {
  const uint64_t* tiles;
  uint32_t begun, end, next;  // of tiles; the next to be asked for
  uint64_t these, following;  // of the 32 around next, and of those after

  CARAT_METHOD void begin() {
    these = entry(begun + lane_index());
    following = entry(begun + 32 + lane_index());
  }
  CARAT_METHOD uint64_t entry(uint32_t at) const { return at < end ? tiles[at] : 0; }
  CARAT_METHOD bool more() const { return next < end; }
  CARAT_METHOD TilePlace take() {
    const uint64_t tile = from_lane(these, static_cast<int>(next - begun) & 31);
    ++next;
    if (((next - begun) & 31) == 0) {
      these = following;
      following = entry(next + 32 + lane_index());
    }
    return {reinterpret_cast<const uint8_t*>(tile & 0xffffffffffffull), static_cast<uint32_t>(tile >> 48) * 16};
  }
};
using DecodeRing = Ring<ListedTiles>;

// A warp's segments of one part of a stage, into part[item][8]. The input lies in shared memory: offsets, so that the
// compiler knows where.
struct PartItems {
  DecodeRing& ring;
  int integers, floats, chunks, first, count;
  float* part;
  template <TileType kType>
  CARAT_METHOD void run() const {
    Rounded x{};
    const int blocks = chunks * kTileBlocks, lane = lane_index();
    uint8_t* at = shared_memory() + integers;
    x.planes = at;
    x.scales = reinterpret_cast<float*>(at + blocks * 64);
    x.sums = reinterpret_cast<int32_t*>(at + blocks * 68);
    x.values = reinterpret_cast<float*>(shared_memory() + floats);
    x.chunks = chunks;
    DecodeRing mine = ring;
    int chunk = first % chunks, item = first;
    const auto step = [&] {
      chunk += kDecodeWarps;
      while (chunk >= chunks) chunk -= chunks;
    };
    CARAT_UNROLL_1 for (; item + kDecodeWarps < count; item += 2 * kDecodeWarps) {  // two at a time: neither waits for its own
      const int chunk0 = chunk;
      step();
      const uint8_t *tile0 = mine.wait(0), *tile1 = mine.wait(1);
      float acc[2];
      segment_of_rows<kType, 1, true>(tile0, x, chunk0, lane, acc);
      segment_of_rows<kType, 1, true>(tile1, x, chunk, lane, acc + 1);
      if (lane >= 24) {
        part[item * 8 + lane - 24] = acc[0];
        part[(item + kDecodeWarps) * 8 + lane - 24] = acc[1];
      }
      warp_barrier();
      mine.done();
      mine.done();
      step();
    }
    if (item < count) {
      float acc[1];
      segment_of_rows<kType, 1, true>(mine.wait(0), x, chunk, lane, acc);
      if (lane >= 24) part[item * 8 + lane - 24] = acc[0];
      warp_barrier();
      mine.done();
    }
    ring = mine;
  }
};
CARAT_OUTLINE void part_items(TileType type, DecodeRing* ring, int integers, int floats, int chunks, int first, int count, float* part) {
  for_type(type, PartItems{*ring, integers, floats, chunks, first, count, part});
}

// A block's view.
struct Decode {
  const DecodeParams& p;
  DecodeRing* ring;
  float *hidden, *y, *cosines, *sines, *scratch, *heads, *part;
  uint32_t* gated;
  uint8_t* x_memory;

  // Input of a product in shared memory.
  // Its factor: 1 / rms, or one that stays 1.
  CARAT_METHOD Rounded input(int columns, int rounded, bool normed) const {
    Rounded x{};
    x.columns = columns;
    x.chunks = (columns + kTileColumns - 1) / kTileColumns;
    x.rows16 = 16;
    x.integers = rounded & 1;
    x.floats = rounded >> 1;
    const int blocks = x.chunks * kTileBlocks;
    x.factors = scratch + (normed ? 128 : 129);
    x.values = reinterpret_cast<float*>(x_memory);
    uint8_t* integers = x_memory + (x.floats != 0 ? blocks * 128 : 0);
    x.planes = integers;
    x.scales = reinterpret_cast<float*>(integers + blocks * 64);
    x.sums = reinterpret_cast<int32_t*>(integers + blocks * 68);
    return x;
  }

  // When this layer's stage `point` began, by the first block's clock.
  CARAT_METHOD void stamp(int layer, int point) const {
    if (p.stamps != nullptr && blockIdx.x == 0 && thread_index() == 0) p.stamps[layer * kDecodeStamps + point] = nanoseconds();
  }

  // Every lane of a warp gets 1 / rms of x.
  CARAT_METHOD float inverse_of(const float* x, int count) const {
    float partial[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    const int lane = lane_index();
    CARAT_UNROLL_3 for (int first = 0; first < count; first += kRowThreads) {
      CARAT_UNROLL for (int k = 0; k < 4; ++k) {
        const int i = first + lane + 32 * k;
        if (i < count) partial[k] = fma_rn(x[i], x[i], partial[k]);
      }
    }
    return inverse_rms(warp_halves((partial[0] + partial[2]) + (partial[1] + partial[3])), count, p.epsilon);
  }

  // hidden += norm(what the product before left), where `words` is not null; then hidden, normed, is the next product's input.
  CARAT_METHOD Rounded take_hidden(const uint64_t* words, int flags, uint32_t epoch, const float* post_norm, const float* norm,
                                   int rounded) const {
    const int D = p.width, lane = lane_index(), warp = warp_index();
    const Rounded x = input(D, rounded, true);
    const int blocks = (D + 31) / 32;
    if (words != nullptr) {
      for (int first = warp; first < blocks; first += kDecodeWarps * kOwnBlocks) {
        const auto column = [&](int k) { return (first + k * kDecodeWarps) * 32 + lane; };
        float value[kOwnBlocks];
        hear<kOwnBlocks>(
            value, epoch, [&](int k) { return column(k) < D; }, [&](int k) { return words + column(k); });
        CARAT_UNROLL for (int k = 0; k < kOwnBlocks; ++k) {
          if (column(k) < D) y[column(k)] = value[k];
        }
      }
      for (int first = warp * 32; first < flags; first += kDecodeThreads) {
        float none[1];
        hear<1>(
            none, epoch, [&](int) { return first + lane < flags; }, [&](int) { return words + D + first + lane; });
      }
      block_barrier();
      const float inverse = inverse_of(y, D);
      for (int first = warp; first < blocks; first += kDecodeWarps * kOwnBlocks) {
        CARAT_UNROLL for (int k = 0; k < kOwnBlocks; ++k) {
          const int i = (first + k * kDecodeWarps) * 32 + lane;
          if (i < D) hidden[i] = hidden[i] + (y[i] * inverse) * post_norm[i];
        }
      }
    }
    // A lane reads what it wrote itself, as long as nothing is normed before it is rounded.
    if (x.integers != 0) {
      for (int first = warp; first < x.chunks * kTileBlocks; first += kDecodeWarps * kOwnBlocks) {
        RoundedBlock r[kOwnBlocks];
        CARAT_UNROLL for (int k = 0; k < kOwnBlocks; ++k) {
          const int i = (first + k * kDecodeWarps) * 32 + lane;
          r[k] = round_value(i < D ? hidden[i] * norm[i] : 0.0f);
        }
        CARAT_UNROLL for (int k = 0; k < kOwnBlocks; ++k) {
          const int block = first + k * kDecodeWarps;
          if (block < x.chunks * kTileBlocks) store_block(x, block, r[k]);
        }
      }
    }
    block_barrier();
    if (x.floats != 0) {
      const float inverse = inverse_of(hidden, D);
      for (int i = thread_index(); i < x.chunks * kTileColumns; i += kDecodeThreads) {
        x.values[i] = i < D ? (hidden[i] * inverse) * norm[i] : 0.0f;
      }
      if (thread_index() == 0) x.factors[0] = inverse;
      block_barrier();
    } else if (warp == kDecodeWarps - 1) {  // the others multiply meanwhile
      const float inverse = inverse_of(hidden, D);
      if (lane == 0) x.factors[0] = inverse;
    }
    return x;
  }
};

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

// Where the row's sequence keeps its keys and values.
struct DecodeKeys {
  const int32_t* pages;
  int page_count, position, first_key;

  CARAT_METHOD int64_t page(int key) const { return page_of(pages, page_count, key); }
};

// The norms of a layer, wherever they lie.
struct DecodeNorms {
  const float *attn, *post_attn, *ffn, *post_ffn, *q, *k;
};
// Those of the next layer on their way into one of two places; before the first use of the place they are waited for.
struct NormPlaces {
  float* floats;  // null: they stay in global memory
  uint64_t* arrivals;
  int width, head_size;

  CARAT_METHOD void fetch(const DecodeLayer& layer, int index) const {
    if (floats == nullptr) return;
    const float* from[6] = {layer.attn_norm, layer.post_attn_norm, layer.ffn_norm, layer.post_ffn_norm, layer.q_norm, layer.k_norm};
    float* to = floats + index % 2 * decode_norm_floats(width, head_size);
    if constexpr (kBulkCopies) {
      if (thread_index() != 0) return;
      arrival_expect(arrivals + index % 2, static_cast<uint32_t>(decode_norm_floats(width, head_size)) * 4);
    }
    CARAT_UNROLL for (int k = 0; k < 6; ++k) {
      const int count = k < 4 ? width : head_size;
      if constexpr (kBulkCopies) {
        bulk_copy(to, from[k], static_cast<uint32_t>(count) * 4, arrivals + index % 2);
      } else {
        for (int i = thread_index(); i < count; i += kDecodeThreads) to[i] = from[k][i];
      }
      to += count;
    }
  }
  // Where there is no copy engine, a block_barrier since fetch.
  CARAT_METHOD DecodeNorms take(const DecodeLayer& layer, int index) const {
    if (floats == nullptr) {
      return {layer.attn_norm, layer.post_attn_norm, layer.ffn_norm, layer.post_ffn_norm, layer.q_norm, layer.k_norm};
    }
    if constexpr (kBulkCopies) arrival_wait(arrivals + index % 2, static_cast<uint32_t>(index / 2) & 1);
    const float* at = floats + index % 2 * decode_norm_floats(width, head_size);
    return {at, at + width, at + 2 * width, at + 3 * width, at + 4 * width, at + 4 * width + head_size};
  }
};

// The row's heads that read one kv head: q normed, rotated, scaled, then k as it comes back from 16 bits, then v likewise; in
// shared memory [group + 2][E]. A warp for each.
CARAT_DEVICE void decode_heads(const Decode& d, int global, const DecodeNorms& norms, int kv_head, uint32_t epoch) {
  const DecodeParams& p = d.p;
  const int E = p.head_size, half = E / 2, lane = lane_index(), group = p.heads / p.kv_heads;
  const float* cosines = d.cosines + global * half;
  const float* sines = d.sines + global * half;
  for (int head = warp_index(); head < group + 2; head += kDecodeWarps) {
    float* out = d.heads + head * E;
    const int from = head < group ? kv_head * group + head : p.heads + (head - group) * p.kv_heads + kv_head;
    float x[8];  // element lane + 32 k
    CARAT_UNROLL for (int k = 0; k < 8; ++k) x[k] = 0.0f;
    hear<8>(
        x, epoch, [&](int k) { return lane + 32 * k < E; }, [&](int k) { return p.qkv + from * E + lane + 32 * k; });
    if (head == group + 1) {
      CARAT_UNROLL for (int k = 0; k < 8; ++k) {
        if (lane + 32 * k < E) out[lane + 32 * k] = half_to_float(float_to_half(clamp_to_half(x[k])));
      }
      continue;
    }
    const float* weight = head < group ? norms.q : norms.k;
    float partial[4];
    CARAT_UNROLL for (int k = 0; k < 4; ++k) partial[k] = fma_rn(x[k + 4], x[k + 4], fma_rn(x[k], x[k], 0.0f));
    const float inverse = inverse_rms(warp_halves((partial[0] + partial[2]) + (partial[1] + partial[3])), E, p.epsilon);
    CARAT_UNROLL for (int k = 0; k < 8; ++k) {
      const int e = lane + 32 * k;
      if (e < E) out[e] = (x[k] * inverse) * weight[e];
    }
    warp_barrier();
    for (int j = lane; j < half; j += 32) {
      const float a = out[j], b = out[half + j];
      float first = fma_rn(a, cosines[j], -(b * sines[j]));
      float second = fma_rn(b, cosines[j], a * sines[j]);
      if (head < group) {
        first = first * p.query_scale;
        second = second * p.query_scale;
      } else {
        first = half_to_float(float_to_half(clamp_to_half(first)));
        second = half_to_float(float_to_half(clamp_to_half(second)));
      }
      out[j] = first;
      out[half + j] = second;
    }
  }
  block_barrier();
}

CARAT_DEVICE uint32_t halves_of(float low, float high) {
  return float_to_half(low) | static_cast<uint32_t>(float_to_half(high)) << 16;
}

// Scores of 32 keys and one kv head: a warp for a quarter of the head and a query head; a lane is a key. Who has the row's
// own key stores it.
CARAT_DEVICE void decode_scores(const Decode& d, const DecodeLayer& layer, const DecodeNorms& norms, const DecodeKeys& keys,
                                uint32_t epoch) {
  const DecodeParams& p = d.p;
  const int E = p.head_size, lane = lane_index(), warp = warp_index(), group = p.heads / p.kv_heads;
  const int first_block = keys.first_key / 32, blocks = keys.position / 32 - first_block + 1;
  const int tasks = blocks * p.kv_heads, quarter = warp % 4;
  float* quarters = d.part;  // [4 quarters][group][32]
  int known = -1;
  for (int task = static_cast<int>(blockIdx.x); task < tasks; task += static_cast<int>(gridDim.x)) {
    const int kv_head = task / blocks, key = (first_block + task % blocks) * 32 + lane;
    const int64_t page = (keys.page(key) * p.kv_heads + kv_head) * kKeysPerPage * E;
    const uint16_t* from = layer.k_cache + page + key % kKeysPerPage * 8;
    const bool before = key >= keys.first_key && key < keys.position;
    constexpr int kLoads = 8;  // a quarter of 256, in 16 bytes
    Words4 k[kLoads];
    CARAT_UNROLL for (int i = 0; i < kLoads; ++i) {  // before the query is there
      k[i] = {0, 0, 0, 0};
      if (before && i * 8 < E / 4) k[i] = load<Words4>(from + (quarter * (E / 32) + i) * 8 * kKeysPerPage);
    }
    if (known != kv_head) decode_heads(d, layer.global, norms, kv_head, epoch);
    known = kv_head;
    if (key == keys.position) {
      const float* own = d.heads + group * E + quarter * (E / 4);
      CARAT_UNROLL for (int i = 0; i < kLoads; ++i) {
        if (i * 8 < E / 4) {
          const float* at = own + i * 8;
          k[i] = {halves_of(at[0], at[1]), halves_of(at[2], at[3]), halves_of(at[4], at[5]), halves_of(at[6], at[7])};
        }
      }
    }
    for (int head = warp / 4; head < group; head += 4) {
      const float* q = d.heads + head * E + quarter * (E / 4);
      float chain = 0.0f;
      CARAT_UNROLL for (int i = 0; i < kLoads; ++i) {
        if (i * 8 >= E / 4) continue;
        const uint32_t words[4] = {k[i].x, k[i].y, k[i].z, k[i].w};
        CARAT_UNROLL for (int j = 0; j < 4; ++j) {
          chain = fma_rn(half_to_float(static_cast<uint16_t>(words[j])), q[i * 8 + 2 * j], chain);
          chain = fma_rn(half_to_float(static_cast<uint16_t>(words[j] >> 16)), q[i * 8 + 2 * j + 1], chain);
        }
      }
      quarters[(quarter * group + head) * 32 + lane] = chain;
    }
    block_barrier();
    for (int i = thread_index(); i < group * 32; i += kDecodeThreads) {
      const float* c = quarters + i;
      tell(p.scores + static_cast<int64_t>(kv_head * group + i / 32) * p.score_stride + task % blocks * 32 + i % 32,
           ((c[0] + c[group * 32]) + c[2 * group * 32]) + c[3 * group * 32], epoch);
    }
    if (task % blocks == blocks - 1) {
      const int slot = keys.position % kKeysPerPage;
      const int64_t base = (keys.page(keys.position) * p.kv_heads + kv_head) * kKeysPerPage * E;
      for (int e = thread_index(); e < E; e += kDecodeThreads) {
        layer.k_cache[base + (e / 8 * kKeysPerPage + slot) * 8 + e % 8] = float_to_half(d.heads[group * E + e]);
        layer.v_cache[base + static_cast<int64_t>(slot) * E + e] = float_to_half(d.heads[(group + 1) * E + e]);
      }
    }
    block_barrier();
  }
}

// Weighted values of one split and head, 128 columns (or the whole of a smaller head) a task: 8 groups of 32 keys by two
// halves of the columns.
CARAT_DEVICE void decode_values(const Decode& d, const DecodeLayer& layer, const DecodeKeys& keys, int splits, uint32_t epoch) {
  const DecodeParams& p = d.p;
  const int E = p.head_size, lane = lane_index(), warp = warp_index(), thread = thread_index();
  const int pieces = (E + 127) / 128, tasks = p.heads * splits * pieces;
  const int first_split = keys.first_key / kSplit, score_base = keys.first_key / 32 * 32, position = keys.position;
  float* weights = d.part;            // [256]
  float* grouped = d.part + kSplit;   // [8 groups][128]
  const int group = p.heads / p.kv_heads, grid = static_cast<int>(gridDim.x);
  for (int task = grid - 1 - static_cast<int>(blockIdx.x); task < tasks; task += grid) {
    const int piece = task % pieces, split = task / pieces % splits, head = task / pieces / splits;
    const int begin = (first_split + split) * kSplit;
    const int lo = most(keys.first_key, begin) - begin, hi = least(position + 1, begin + kSplit) - begin;
    const int kv_head = head / group;
    // Values first: they take longest to come, and need no score.
    const int column = piece * 128 + warp % 2 * 64 + 2 * lane;
    const int key_group = warp / 2;
    const int group_lo = most(lo, key_group * 32), group_hi = least(hi, key_group * 32 + 32);
    uint32_t v[32] = {};
    if (group_lo < group_hi && column < E) {
      const int64_t page = keys.page(begin + key_group * 32);
      const uint16_t* values =
          layer.v_cache + ((page * p.kv_heads + kv_head) * kKeysPerPage + (begin + key_group * 32) % kKeysPerPage) * E + column;
      CARAT_UNROLL for (int k = 0; k < 32; ++k) {
        const int at = key_group * 32 + k;
        if (at >= group_lo && at < group_hi && begin + at != position) v[k] = load<uint32_t>(values + k * E);
      }
    }
    if (position >= begin + key_group * 32 && position < begin + key_group * 32 + 32) {  // the row's own value
      float own[2] = {0.0f, 0.0f};
      hear<2>(
          own, epoch, [&](int k) { return column + k < E; },
          [&](int k) { return p.qkv + (p.heads + p.kv_heads + kv_head) * E + column + k; });
      const uint32_t word = halves_of(clamp_to_half(own[0]), clamp_to_half(own[1]));
      CARAT_UNROLL for (int k = 0; k < 32; ++k) {
        if (begin + key_group * 32 + k == position) v[k] = word;
      }
    }
    float score = -bits_to_float(0x7f800000u);
    const bool visible = thread >= lo && thread < hi;
    if (warp < kSplit / 32) {
      hear<1>(
          &score, epoch, [&](int) { return visible; },
          [&](int) { return p.scores + static_cast<int64_t>(head) * p.score_stride + begin + thread - score_base; });
    }
    uint32_t top = warp_max(order_of_score(score));
    if (lane == 0) d.scratch[warp] = bits_to_float(top);
    block_barrier();
    top = warp_max(float_bits(d.scratch[lane & 7]));
    const float largest = score_of_order(top);
    if (thread < kSplit) weights[thread] = visible ? exp_exact(score - largest) : 0.0f;
    block_barrier();
    float sum = 0.0f;
    CARAT_UNROLL for (int k = 0; k < kSplit / 32; ++k) sum = sum + weights[lane + 32 * k];
    sum = warp_halves(sum);
    if (column < E) {
      float a = 0.0f, b = 0.0f;
      CARAT_UNROLL for (int k = 0; k < 32; ++k) {  // keys that the row does not see have a weight of 0 and no value
        const float weight = weights[key_group * 32 + k];
        a = fma_rn(weight, half_to_float(static_cast<uint16_t>(v[k])), a);
        b = fma_rn(weight, half_to_float(static_cast<uint16_t>(v[k] >> 16)), b);
      }
      grouped[key_group * 128 + warp % 2 * 64 + 2 * lane] = a;
      grouped[key_group * 128 + warp % 2 * 64 + 2 * lane + 1] = b;
    }
    block_barrier();
    const int64_t part = static_cast<int64_t>(head) * p.split_stride + split;
    if (thread < 128 && piece * 128 + thread < E) {
      float total = grouped[thread];
      CARAT_UNROLL for (int k = 1; k < 8; ++k) total = total + grouped[k * 128 + thread];
      tell(p.values + part * E + piece * 128 + thread, total, epoch);
    }
    if (thread == 0 && piece == 0) {
      tell(p.weights + part * 2, largest, epoch);
      tell(p.weights + part * 2 + 1, sum, epoch);
    }
    block_barrier();
  }
}

// A warp's 32 columns from `i` of the attended row: their head's splits put together in order.
CARAT_DEVICE float combined(const DecodeParams& p, int splits, int i, bool there, uint32_t epoch) {
  const int E = p.head_size, head = i / E, e = i % E;
  const int64_t first = static_cast<int64_t>(head) * p.split_stride;
  float largest = 0.0f, sum = 0.0f, value = 0.0f;
  for (int from = 0; from < splits; from += kFewSplits) {
    float parts[3 * kFewSplits];
    hear<3 * kFewSplits>(
        parts, epoch, [&](int k) { return there && from + k / 3 < splits; },
        [&](int k) {
          const int64_t part = first + from + k / 3;
          return k % 3 == 2 ? p.values + part * E + e : p.weights + part * 2 + k % 3;
        });
    CARAT_UNROLL for (int k = 0; k < kFewSplits; ++k) {
      if (from + k >= splits) break;
      if (from + k == 0) {
        largest = parts[0], sum = parts[1], value = parts[2];
        continue;
      }
      const Rescale r = rescale(largest, parts[3 * k]);
      sum = fma_rn(sum, r.old_factor, parts[3 * k + 1] * r.new_factor);
      value = fma_rn(value, r.old_factor, parts[3 * k + 2] * r.new_factor);
      largest = r.largest;
    }
  }
  return div_rn(value, sum);
}

// What attention left, as the input of attn_out.
CARAT_DEVICE Rounded take_attended(const Decode& d, int splits, uint32_t epoch, int rounded) {
  const DecodeParams& p = d.p;
  const int HE = p.heads * p.head_size, lane = lane_index(), warp = warp_index(), blocks = (HE + 31) / 32;
  const bool few = splits <= kFewSplits;
  if (!few) {  // each block of 32 columns by one warp of all
    const int all = static_cast<int>(gridDim.x) * kDecodeWarps;
    for (int block = warp * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x); block < blocks; block += all) {
      const int i = block * 32 + lane;
      tell(p.attended + i, combined(p, splits, i, i < HE, epoch), epoch);
    }
  }
  const Rounded x = d.input(HE, rounded, false);
  for (int block = warp; block < x.chunks * kTileBlocks; block += kDecodeWarps) {
    const int i = block * 32 + lane;
    float value = 0.0f;
    if (block < blocks) {
      if (few) {
        value = combined(p, splits, i, i < HE, epoch);
      } else {
        hear<1>(
            &value, epoch, [&](int) { return i < HE; }, [&](int) { return p.attended + i; });
      }
    }
    if (i >= HE) value = 0.0f;
    if (x.integers != 0) round_block(x, 0, block, value);
    if (x.floats != 0) x.values[i] = value;
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
