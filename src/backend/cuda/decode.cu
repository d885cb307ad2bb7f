// One row through the whole model in one launch: a block on every multiprocessor, which all meet after each stage.
//   per layer: qkv | scores | values | (splits, where there are many) | attn_out | gate_up | down      then logits
// What a stage reads of the others' results every block prepares for itself in shared memory (norms, the rounding): that is
// cheaper than another meeting. Before a block waits it asks for its next weights, so that they are in L2 when it needs them.
#include "backend/cuda/device/product.cuh"
#include "backend/cuda/device/rope.cuh"
#include "backend/cuda/device/rounding.cuh"

namespace carat::cuda {

inline constexpr int kDecodeThreads = 512;
inline constexpr int kDecodeWarps = kDecodeThreads / 32;
inline constexpr int kPartItems = 1024;  // segments of 8 outputs that a block holds at a time
inline constexpr int kFewSplits = 4;     // so many splits every block puts together for itself

// A block's view: shared memory, and the meetings so far.
struct Decode {
  const DecodeParams& p;
  float *hidden, *y, *scratch, *cosines, *sines, *part, *result;
  uint8_t* x_memory;
  uint32_t meetings;

  // Input of a product in shared memory.
  CARAT_METHOD Rounded input(int columns, int rounded) const {
    Rounded x{};
    x.columns = columns;
    x.chunks = (columns + kTileColumns - 1) / kTileColumns;
    x.rows16 = 16;
    x.integers = rounded & 1;
    x.floats = rounded >> 1;
    const int blocks = x.chunks * kTileBlocks;
    x.factors = scratch + kRowThreads;
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

  CARAT_METHOD void meet(int layer, int point) {
    block_barrier();
    stamp(layer, point);
    ++meetings;
    if (thread_index() == 0) {
      arrive_at_grid(p.arrived);
      wait_for_grid(p.arrived, meetings * gridDim.x);
    }
    block_barrier();
    stamp(layer, point + 1);
  }

  // Every thread gets 1 / rms of x.
  CARAT_METHOD float inverse_of(const float* x, int count) const {
    float squares = 0.0f;
    if (thread_index() < kRowThreads) {
      for (int i = thread_index(); i < count; i += kRowThreads) squares = fma_rn(x[i], x[i], squares);
    }
    return inverse_rms(block_halves(squares, scratch), count, p.epsilon);
  }

  // hidden, normed, as a product's input.
  CARAT_METHOD Rounded norm_hidden(const float* weight, int rounded) {
    const Rounded x = input(p.width, rounded);
    const float inverse = inverse_of(hidden, p.width);
    const float* h = hidden;
    write_row(
        x, 0, inverse, [&](int i) { return h[i] * weight[i]; }, [&](int i) { return (h[i] * inverse) * weight[i]; });
    block_barrier();
    return x;
  }

  // hidden += norm(what the product before left).
  CARAT_METHOD void close(const float* post_norm) {
    for (int i = thread_index(); i < p.width; i += kDecodeThreads) y[i] = load_fresh(p.projected + i);
    block_barrier();
    const float inverse = inverse_of(y, p.width);
    for (int i = thread_index(); i < p.width; i += kDecodeThreads) hidden[i] = hidden[i] + (y[i] * inverse) * post_norm[i];
    block_barrier();
  }
};

// A warp's segment, whatever its type. The input lies in shared memory (see Decode::input): offsets, so that the compiler
// knows where.
struct SegmentOf {
  const uint8_t* tile;
  int integers, floats, chunks, chunk, lane;
  float* acc;
  template <TileType kType>
  CARAT_METHOD void run() const {
    Rounded x{};
    const int blocks = chunks * kTileBlocks;
    uint8_t* at = shared_memory() + integers;
    x.planes = at;
    x.scales = reinterpret_cast<float*>(at + blocks * 64);
    x.sums = reinterpret_cast<int32_t*>(at + blocks * 68);
    x.values = reinterpret_cast<float*>(shared_memory() + floats);
    x.chunks = chunks;
    segment_of_rows<kType, 1>(tile, x, chunk, lane, acc);
  }
};
CARAT_OUTLINE float any_segment(TileType type, const uint8_t* tile, int integers, int floats, int chunks, int chunk, int lane) {
  float acc = 0.0f;
  for_type(type, SegmentOf{tile, integers, floats, chunks, chunk, lane, &acc});
  return acc;
}

// Output group v of a stage: which part it is of, and its group there.
struct StageGroup {
  const DecodePart* part;
  int group;
};
CARAT_DEVICE StageGroup stage_group(const DecodePart* parts, int count, int v) {
  if (count > 1 && parts[0].group_step > 1) return {parts + v % count, v / count};
  int i = 0;
  while (i + 1 < count && v >= parts[i].matrix.groups) v -= parts[i++].matrix.groups;
  return {parts + i, v};
}

// The groups of a stage that this block computes: kUnit neighbours at a time.
template <int kUnit>
struct StageShare {
  int slots;  // groups of this block
  CARAT_METHOD explicit StageShare(int total) {
    const int blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
    slots = most(0, (total / kUnit - block + blocks - 1) / blocks) * kUnit;
  }
  CARAT_METHOD int group(int slot) const {
    return (static_cast<int>(blockIdx.x) + slot / kUnit * static_cast<int>(gridDim.x)) * kUnit + slot % kUnit;
  }
};
CARAT_DEVICE int groups_of(const DecodePart* parts, int count) {
  int total = 0;
  for (int i = 0; i < count; ++i) total += parts[i].matrix.groups;
  return total;
}

template <int kUnit>
CARAT_DEVICE void prefetch_stage(const DecodePart* parts, int count) {
  const StageShare<kUnit> share(groups_of(parts, count));
  for (int slot = warp_index(); slot < share.slots; slot += kDecodeWarps) {
    const StageGroup g = stage_group(parts, count, share.group(slot));
    const int bytes = g.part->matrix.chunks * tile_format(g.part->matrix.type).tile_bytes();
    const uint8_t* begin = tile_at(g.part->matrix, g.group, 0);
    for (int at = lane_index() * 128; at < bytes; at += 32 * 128) prefetch_l2(begin + at);
  }
}

// The block's groups of a stage: sink(share, first slot, slots) is called with `result` [slot][8] = factor * total.
template <int kUnit, class Sink>
CARAT_DEVICE void stage_product(const Decode& d, const DecodePart* parts, int count, const Rounded& x, Sink sink) {
  const StageShare<kUnit> share(groups_of(parts, count));
  const int chunks = x.chunks;
  const int at_once = most(kUnit, least(kPartItems / chunks, kPartItems / 8) / kUnit * kUnit);
  const int lane = lane_index();
  const int integers = static_cast<int>(x.planes - shared_memory());
  const int floats = static_cast<int>(reinterpret_cast<uint8_t*>(x.values) - shared_memory());
  const float factor = x.factors[0];
  for (int first = 0; first < share.slots; first += at_once) {
    const int now = least(at_once, share.slots - first);
    int slot = 0, chunk = warp_index(), known = -1, bytes = 0;
    TileType type = TileType::kF32;
    const uint8_t* tiles = nullptr;
    for (int item = warp_index(); item < now * chunks; item += kDecodeWarps, chunk += kDecodeWarps) {
      while (chunk >= chunks) {
        chunk -= chunks;
        ++slot;
      }
      if (slot != known) {
        const StageGroup g = stage_group(parts, count, share.group(first + slot));
        type = g.part->matrix.type;
        bytes = tile_format(type).tile_bytes();
        tiles = g.part->matrix.data + static_cast<int64_t>(g.group) * chunks * bytes;
        known = slot;
      }
      const float acc = any_segment(type, tiles + chunk * bytes, integers, floats, chunks, chunk, lane);
      if (lane >= 24) d.part[item * 8 + lane - 24] = acc;
    }
    block_barrier();
    for (int i = thread_index(); i < now * 8; i += kDecodeThreads) {
      const float* part = d.part + i / 8 * chunks * 8 + i % 8;
      float total = part[0];
      CARAT_UNROLL_8 for (int c = 1; c < chunks; ++c) total = total + part[c * 8];
      const StageGroup g = stage_group(parts, count, share.group(first + i / 8));
      d.result[i] = tile_format(g.part->matrix.type).quantised() ? factor * total : total;
    }
    block_barrier();
    sink(share, first, now);
    if (first + at_once < share.slots) block_barrier();
  }
}

// Sinks.
struct StoreOutputs {
  const Decode& d;
  const DecodePart* parts;
  int count;
  float* out;
  template <class Share>
  CARAT_METHOD void operator()(const Share& share, int first, int now) const {
    for (int i = thread_index(); i < now * 8; i += kDecodeThreads) {
      const StageGroup g = stage_group(parts, count, share.group(first + i / 8));
      const int row = g.group * kTileRows + i % 8;
      if (row < g.part->matrix.rows) {
        out[(g.group * g.part->group_step + g.part->group_first) * kTileRows + i % 8] = d.result[i];
      }
    }
  }
};
// gelu(gate) * up, 32 units of 8 groups: rounded to a block by the warp that has them.
struct StoreGated {
  const Decode& d;
  int rounded;
  template <class Share>
  CARAT_METHOD void operator()(const Share& share, int first, int now) const {
    const int lane = lane_index();
    Rounded out{};
    out.columns = d.p.ffn_width;
    out.chunks = (d.p.ffn_width + kTileColumns - 1) / kTileColumns;
    out.planes = d.p.gated_planes;
    out.scales = d.p.gated_scales;
    out.sums = d.p.gated_sums;
    out.values = d.p.gated_values;
    for (int set = warp_index(); set < now / 8; set += kDecodeWarps) {
      const float* r = d.result + set * 64 + lane / 8 * 16 + lane % 8;
      const float value = gelu(r[0]) * r[8];
      const int block = share.group(first + set * 8) / 8;
      if ((rounded & 1) != 0) round_block(out, 0, block, value);
      if ((rounded & 2) != 0) store_float(out, 0, block * 32 + lane, value);
    }
  }
};

// q and k of this row: norm, rope, scale; in shared memory [(H + K)][E], keys as they come back from 16 bits.
CARAT_DEVICE void decode_heads(const Decode& d, const DecodeLayer& layer, float* heads) {
  const DecodeParams& p = d.p;
  const int E = p.head_size, half = E / 2, lane = lane_index();
  const float* cosines = d.cosines + layer.global * half;
  const float* sines = d.sines + layer.global * half;
  for (int head = warp_index(); head < p.heads + p.kv_heads; head += kDecodeWarps) {
    const float* weight = head < p.heads ? layer.q_norm : layer.k_norm;
    float x[8];  // element lane + 32 k
    CARAT_UNROLL for (int k = 0; k < 8; ++k) {
      x[k] = lane + 32 * k < E ? load_fresh(p.qkv + head * E + lane + 32 * k) : 0.0f;
    }
    float partial[4];
    CARAT_UNROLL for (int k = 0; k < 4; ++k) partial[k] = fma_rn(x[k + 4], x[k + 4], fma_rn(x[k], x[k], 0.0f));
    const float inverse = inverse_rms(warp_halves((partial[0] + partial[2]) + (partial[1] + partial[3])), E, p.epsilon);
    CARAT_UNROLL for (int k = 0; k < 8; ++k) {
      const int e = lane + 32 * k;
      if (e < E) heads[head * E + e] = (x[k] * inverse) * weight[e];
    }
    warp_barrier();
    for (int j = lane; j < half; j += 32) {
      const float a = heads[head * E + j], b = heads[head * E + half + j];
      float first = fma_rn(a, cosines[j], -(b * sines[j]));
      float second = fma_rn(b, cosines[j], a * sines[j]);
      if (head < p.heads) {
        first = first * p.query_scale;
        second = second * p.query_scale;
      } else {
        first = half_to_float(float_to_half(clamp_to_half(first)));
        second = half_to_float(float_to_half(clamp_to_half(second)));
      }
      heads[head * E + j] = first;
      heads[head * E + half + j] = second;
    }
  }
  block_barrier();
}

// This row's key and value into the cache, by whichever block it is.
CARAT_DEVICE void store_row(const Decode& d, const DecodeLayer& layer, const float* heads, int position, int64_t page) {
  const DecodeParams& p = d.p;
  const int E = p.head_size, slot = position % kKeysPerPage;
  for (int i = thread_index(); i < p.kv_heads * E; i += kDecodeThreads) {
    const int head = i / E, e = i % E;
    const int64_t base = (page * p.kv_heads + head) * kKeysPerPage * E;
    layer.k_cache[base + (e / 8 * kKeysPerPage + slot) * 8 + e % 8] = float_to_half(heads[p.heads * E + i]);
    layer.v_cache[base + static_cast<int64_t>(slot) * E + e] =
        float_to_half(clamp_to_half(load_fresh(p.qkv + (p.heads + p.kv_heads) * E + i)));
  }
}

// Scores of 32 keys and one kv head: four warps, a quarter of the head each; a lane is a key.
CARAT_DEVICE void decode_scores(const Decode& d, const DecodeLayer& layer, const float* heads, int position, int first_key,
                                const int32_t* pages, int page_count) {
  const DecodeParams& p = d.p;
  const int E = p.head_size, lane = lane_index(), warp = warp_index();
  const int group = p.heads / p.kv_heads;
  const int first_block = first_key / 32, blocks = position / 32 - first_block + 1;
  const int tasks = blocks * p.kv_heads;
  float* quarters = d.part;  // [4 tasks][4 quarters][group][32]
  const int quarter = warp % 4;
  for (int first = static_cast<int>(blockIdx.x) * 4; first < tasks; first += static_cast<int>(gridDim.x) * 4) {
    const int task = first + warp / 4;
    const int kv_head = task / blocks, key = (first_block + task % blocks) * 32 + lane;
    if (task < tasks) {
      const int64_t page = page_of(pages, page_count, key);
      const uint16_t* keys = layer.k_cache + (page * p.kv_heads + kv_head) * kKeysPerPage * E + key % kKeysPerPage * 8;
      const float* own = heads + (p.heads + kv_head) * E;
      for (int first_head = 0; first_head < group; first_head += 4) {
        float chain[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        const int many = least(4, group - first_head);
        const float* q = heads + (kv_head * group + first_head) * E;
        for (int e = quarter * E / 4; e < (quarter + 1) * E / 4; e += 8) {
          float k[8];
          if (key == position) {
            CARAT_UNROLL for (int i = 0; i < 8; ++i) k[i] = own[e + i];
          } else {
            Words4 v{0, 0, 0, 0};
            if (key >= first_key && key < position) v = load<Words4>(keys + e * kKeysPerPage);
            const uint32_t words[4] = {v.x, v.y, v.z, v.w};
            CARAT_UNROLL for (int i = 0; i < 4; ++i) {
              k[2 * i] = half_to_float(static_cast<uint16_t>(words[i]));
              k[2 * i + 1] = half_to_float(static_cast<uint16_t>(words[i] >> 16));
            }
          }
          CARAT_UNROLL for (int h = 0; h < 4; ++h) {
            if (h >= many) break;
            CARAT_UNROLL for (int i = 0; i < 8; ++i) chain[h] = fma_rn(k[i], q[h * E + e + i], chain[h]);
          }
        }
        for (int h = 0; h < many; ++h) {
          quarters[((warp / 4 * 4 + quarter) * group + first_head + h) * 32 + lane] = chain[h];
        }
      }
    }
    block_barrier();
    for (int i = thread_index(); i < 4 * group * 32; i += kDecodeThreads) {
      const int of = first + i / (group * 32), h = i / 32 % group, at = i % 32;
      if (of >= tasks) continue;
      const float* c = quarters + (i / (group * 32) * 4 * group + h) * 32 + at;
      const int head = of / blocks * group + h;
      p.scores[static_cast<int64_t>(head) * p.score_stride + of % blocks * 32 + at] =
          ((c[0] + c[group * 32]) + c[2 * group * 32]) + c[3 * group * 32];
    }
    block_barrier();
  }
}

// Weighted values of one split and head, 128 columns (or the whole of a smaller head) a task: 8 groups of 32 keys by two
// halves of the columns.
CARAT_DEVICE void decode_values(const Decode& d, const DecodeLayer& layer, int position, int first_key, int splits,
                                const int32_t* pages, int page_count) {
  const DecodeParams& p = d.p;
  const int E = p.head_size, lane = lane_index(), warp = warp_index(), thread = thread_index();
  const int pieces = (E + 127) / 128;
  const int tasks = p.heads * splits * pieces;
  const int first_split = first_key / kSplit, score_base = first_key / 32 * 32;
  float* weights = d.result;         // [256]
  float* grouped = d.part;           // [8 groups][128]
  const int group = p.heads / p.kv_heads;
  for (int task = static_cast<int>(blockIdx.x); task < tasks; task += static_cast<int>(gridDim.x)) {
    const int piece = task % pieces, split = task / pieces % splits, head = task / pieces / splits;
    const int begin = (first_split + split) * kSplit;
    const int lo = most(first_key, begin) - begin, hi = least(position + 1, begin + kSplit) - begin;
    const int kv_head = head / group;
    // Values first: they take longest to come, and need no score.
    const int column = piece * 128 + warp % 2 * 64 + 2 * lane;
    const int key_group = warp / 2;
    const int group_lo = most(lo, key_group * 32), group_hi = least(hi, key_group * 32 + 32);
    uint32_t v[32];
    const bool there = group_lo < group_hi && column < E;
    if (there) {
      const int64_t page = page_of(pages, page_count, begin + key_group * 32);
      const uint16_t* values =
          layer.v_cache + ((page * p.kv_heads + kv_head) * kKeysPerPage + (begin + key_group * 32) % kKeysPerPage) * E + column;
      CARAT_UNROLL for (int k = 0; k < 32; ++k) {
        const int at = key_group * 32 + k;
        v[k] = 0;
        if (at >= group_lo && at < group_hi && begin + at != position) v[k] = load<uint32_t>(values + k * E);
      }
    }
    float score = -bits_to_float(0x7f800000u);
    const bool visible = thread >= lo && thread < hi;
    if (visible) score = load_fresh(p.scores + static_cast<int64_t>(head) * p.score_stride + begin + thread - score_base);
    const uint32_t bits = float_bits(score);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    uint32_t top = warp_max(nan ? ~0u : (bits >> 31) != 0 ? ~bits : bits | 0x80000000u);
    if (lane == 0) d.scratch[warp] = bits_to_float(top);
    block_barrier();
    top = warp_max(float_bits(d.scratch[lane & 7]));
    const uint32_t of_top = (top >> 31) != 0 ? top & 0x7fffffffu : ~top;
    const float largest = bits_to_float(top == ~0u ? 0x7fc00000u : of_top);
    if (thread < kSplit) weights[thread] = visible ? exp_exact(score - largest) : 0.0f;
    block_barrier();
    float sum = 0.0f;
    CARAT_UNROLL for (int k = 0; k < kSplit / 32; ++k) sum = sum + weights[lane + 32 * k];
    sum = warp_halves(sum);
    if (column < E) {
      float a = 0.0f, b = 0.0f;
      if (there) {
        CARAT_UNROLL for (int k = 0; k < 32; ++k) {
          const int at = key_group * 32 + k;
          if (at < group_lo || at >= group_hi) continue;
          float va = half_to_float(static_cast<uint16_t>(v[k])), vb = half_to_float(static_cast<uint16_t>(v[k] >> 16));
          if (begin + at == position) {
            const float* own = p.qkv + (p.heads + p.kv_heads + kv_head) * E + column;
            va = half_to_float(float_to_half(clamp_to_half(load_fresh(own))));
            vb = half_to_float(float_to_half(clamp_to_half(load_fresh(own + 1))));
          }
          a = fma_rn(weights[at], va, a);
          b = fma_rn(weights[at], vb, b);
        }
      }
      grouped[key_group * 128 + warp % 2 * 64 + 2 * lane] = a;
      grouped[key_group * 128 + warp % 2 * 64 + 2 * lane + 1] = b;
    }
    block_barrier();
    float* out = p.partials + (static_cast<int64_t>(head) * splits + split) * (E + 2);
    if (thread < 128 && piece * 128 + thread < E) {
      float total = grouped[thread];
      CARAT_UNROLL for (int k = 1; k < 8; ++k) total = total + grouped[k * 128 + thread];
      out[2 + piece * 128 + thread] = total;
    }
    if (thread == 0 && piece == 0) {
      out[0] = largest;
      out[1] = sum;
    }
    block_barrier();
  }
}

// Column i of the attended row: its head's splits put together in order.
CARAT_DEVICE float combined(const DecodeParams& p, int splits, int i) {
  const int E = p.head_size, head = i / E, e = i % E;
  const float* parts = p.partials + static_cast<int64_t>(head) * splits * (E + 2);
  float largest = load_fresh(parts), sum = load_fresh(parts + 1), value = load_fresh(parts + 2 + e);
  for (int split = 1; split < splits; ++split) {
    const float* part = parts + static_cast<int64_t>(split) * (E + 2);
    const float other = load_fresh(part), other_sum = load_fresh(part + 1), other_value = load_fresh(part + 2 + e);
    const float top = other > largest ? other : largest;
    const float old_factor = exp_exact(largest - top);
    const float new_factor = exp_exact(other - top);
    sum = fma_rn(sum, old_factor, other_sum * new_factor);
    value = fma_rn(value, old_factor, other_value * new_factor);
    largest = top;
  }
  return div_rn(value, sum);
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
  const int E = p.head_size, D = p.width;
  Decode d{p, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 0};
  auto* next = reinterpret_cast<float*>(shared_memory());
  const auto take = [&](int floats) {
    float* at = next;
    next += (floats + 31) / 32 * 32;
    return at;
  };
  d.hidden = take(D);
  d.y = take(D);
  d.scratch = take(kRowThreads + 32);
  d.cosines = take(E);
  d.sines = take(E);
  d.part = take(kPartItems * 8);
  d.result = take(kPartItems);
  float* heads = take((p.heads + p.kv_heads) * E);
  auto* layers = reinterpret_cast<DecodeLayer*>(take(2 * (sizeof(DecodeLayer) + 127) / 128 * 32));
  d.x_memory = reinterpret_cast<uint8_t*>(next);
  static_assert(sizeof(DecodeLayer) % 8 == 0, "copied in words");
  const auto fetch_layer = [&](int index) {  // its description, into one of two places
    const auto* from = reinterpret_cast<const uint64_t*>(p.layers + index);
    auto* to = reinterpret_cast<uint64_t*>(layers + index % 2);
    for (int i = thread_index(); i < static_cast<int>(sizeof(DecodeLayer) / 8); i += kDecodeThreads) to[i] = from[i];
  };
  fetch_layer(0);

  const RowInfo info = *p.row;
  prefetch_stage<1>(p.layers[0].qkv, p.layers[0].qkv_parts);
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

  for (int index = 0; index < p.layer_count; ++index) {
    const DecodeLayer& layer = layers[index % 2];
    const DecodeLayer& next_layer = layers[(index + 1) % 2];
    if (index + 1 < p.layer_count) fetch_layer(index + 1);
    d.stamp(index, 0);
    const int kind = layer.global;
    const int32_t* pages = p.pages[kind];
    const int page_count = *p.page_count[kind];
    const int position = info.position;
    const int first_key = kind == 1 ? 0 : most(0, position - p.window + 1);
    const int splits = position / kSplit - first_key / kSplit + 1;

    Rounded x = d.norm_hidden(layer.attn_norm, layer.rounded[0]);
    d.stamp(index, 1);
    stage_product<1>(d, layer.qkv, layer.qkv_parts, x, StoreOutputs{d, layer.qkv, layer.qkv_parts, p.qkv});
    prefetch_stage<1>(&layer.attn_out, 1);
    d.meet(index, 2);

    decode_heads(d, layer, heads);
    if (blockIdx.x + 1 == gridDim.x) store_row(d, layer, heads, position, page_of(pages, page_count, position));
    decode_scores(d, layer, heads, position, first_key, pages, page_count);
    prefetch_stage<8>(layer.gate_up, layer.gate_up_parts);
    d.meet(index, 4);

    decode_values(d, layer, position, first_key, splits, pages, page_count);
    d.meet(index, 6);
    const bool few = splits <= kFewSplits;
    if (!few) {
      const int per_block = (p.heads * E + static_cast<int>(gridDim.x) - 1) / static_cast<int>(gridDim.x);
      for (int i = thread_index(); i < per_block; i += kDecodeThreads) {
        const int at = static_cast<int>(blockIdx.x) * per_block + i;
        if (at < p.heads * E) p.attended[at] = combined(p, splits, at);
      }
      d.meet(index, 8);
    }

    x = d.input(p.heads * E, layer.rounded[1]);
    const auto attended = [&](int i) { return few ? combined(p, splits, i) : load_fresh(p.attended + i); };
    write_row(x, 0, 1.0f, attended, attended);
    block_barrier();
    d.stamp(index, 10);
    stage_product<1>(d, &layer.attn_out, 1, x, StoreOutputs{d, &layer.attn_out, 1, p.projected});
    prefetch_stage<1>(&layer.down, 1);
    d.meet(index, 11);

    d.close(layer.post_attn_norm);
    x = d.norm_hidden(layer.ffn_norm, layer.rounded[0]);
    d.stamp(index, 13);
    stage_product<8>(d, layer.gate_up, layer.gate_up_parts, x, StoreGated{d, layer.rounded[2]});
    if (index + 1 < p.layer_count) prefetch_stage<1>(next_layer.qkv, next_layer.qkv_parts);
    d.meet(index, 14);

    x = d.input(p.ffn_width, layer.rounded[2]);
    const int blocks = x.chunks * kTileBlocks, filled = p.ffn_width / 32;
    const auto* planes = reinterpret_cast<const uint32_t*>(p.gated_planes);
    if (x.integers != 0) {
      for (int i = thread_index(); i < blocks * 16; i += kDecodeThreads) {
        reinterpret_cast<uint32_t*>(x.planes)[i] = i < filled * 16 ? load_fresh(planes + i) : 0;
      }
      for (int i = thread_index(); i < blocks; i += kDecodeThreads) {
        x.scales[i] = i < filled ? load_fresh(p.gated_scales + i) : 0.0f;
      }
      for (int i = thread_index(); i < blocks * 2; i += kDecodeThreads) {
        x.sums[i] = i < filled * 2 ? static_cast<int32_t>(load_fresh(reinterpret_cast<const uint32_t*>(p.gated_sums) + i)) : 0;
      }
    }
    if (x.floats != 0) {
      for (int i = thread_index(); i < blocks * 32; i += kDecodeThreads) {
        x.values[i] = i < filled * 32 ? load_fresh(p.gated_values + i) : 0.0f;
      }
    }
    if (thread_index() == 0) x.factors[0] = 1.0f;
    block_barrier();
    d.stamp(index, 16);
    stage_product<1>(d, &layer.down, 1, x, StoreOutputs{d, &layer.down, 1, p.projected});
    d.meet(index, 17);
    d.close(layer.post_ffn_norm);
  }
  if (blockIdx.x != 0) return;
  for (int i = thread_index(); i < D; i += kDecodeThreads) p.hidden[i] = d.hidden[i];
}

}  // namespace carat::cuda
