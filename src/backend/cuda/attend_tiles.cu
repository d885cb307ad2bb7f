// Attention of many rows of one sequence (device/attention.cuh has the definition): a block for 32 pairs of a position and
// a query head that read the same keys. A split of 256 keys at a time, as two products on registers: scores, where each of
// the eight warps has 32 keys, and values, where each has 32 columns. A lane holds 8 rows x 4 keys or columns, so that
// twelve loads feed 128 fma; keys and values are widened once, in the warp's own place in shared memory.
#include "backend/cuda/device/attention.cuh"

namespace carat::cuda {

inline constexpr int kTileWarps = 8;
inline constexpr int kSlab = 16;                          // columns of keys, or values, that are staged at a time
inline constexpr int kKeyStride = kSlab + 4;              // floats: rows of a stage fall on different banks
inline constexpr int kValueStride = 32 + 4;
inline constexpr int kStageFloats = 32 * kKeyStride;      // of 32 keys x 16 columns; 16 values x 32 columns take less
inline constexpr int kWeightStride = kSplit + 4;

struct AttendLayout {
  int weights, stages, state, floats;
};
CARAT_DEVICE AttendLayout attend_layout(int head_size) {
  AttendLayout l{};
  l.weights = kQueryRows * (head_size + 4);
  l.stages = l.weights + kQueryRows * kWeightStride;
  l.state = l.stages + kTileWarps * 2 * kStageFloats;
  l.floats = l.state + 8 * kQueryRows;
  return l;
}

CARAT_DEVICE void widen(float* to, const Words4& v) {
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
  uint32_t out[8];
  CARAT_UNROLL for (int i = 0; i < 4; ++i) {
    out[2 * i] = float_bits(half_to_float(static_cast<uint16_t>(words[i])));
    out[2 * i + 1] = float_bits(half_to_float(static_cast<uint16_t>(words[i] >> 16)));
  }
  auto* at = reinterpret_cast<Words4*>(to);
  at[0] = {out[0], out[1], out[2], out[3]};
  at[1] = {out[4], out[5], out[6], out[7]};
}
CARAT_DEVICE void load_floats(const float* from, float* to) {
  const Words4 v = load<Words4>(from);
  to[0] = bits_to_float(v.x), to[1] = bits_to_float(v.y), to[2] = bits_to_float(v.z), to[3] = bits_to_float(v.w);
}

CARAT_DEVICE void store_floats(float* to, const float* from) {
  *reinterpret_cast<Words4*>(to) = {float_bits(from[0]), float_bits(from[1]), float_bits(from[2]), float_bits(from[3])};
}

// What a block knows of its rows between splits, [kQueryRows] each.
struct TileState {
  float *largest, *sum, *old_factor, *new_factor;
  int32_t *first, *until, *mode;  // mode: -1 has seen nothing yet, 0 sees nothing of this split, 1 its first, 2 to be put to those before
};

// Scores of the warp's 32 keys into weights[row][key]. `there`: whether the lane's key is one that some row sees.
CARAT_DEVICE void tile_scores(const uint16_t* keys, bool there, const float* query, int E, float* stage, float* weights) {
  const int lane = lane_index(), row0 = lane >> 3, key0 = lane & 7;
  const int stride = E + 4, slabs = E / kSlab, quarter = slabs / 4;
  float total[8][4], chain[8][4];
  CARAT_UNROLL for (int i = 0; i < 8; ++i) {
    CARAT_UNROLL for (int j = 0; j < 4; ++j) total[i][j] = -0.0f, chain[i][j] = 0.0f;
  }
  Words4 next[2] = {};
  CARAT_UNROLL for (int h = 0; h < 2; ++h) {
    if (there) next[h] = load<Words4>(keys + (h * kKeysPerPage + lane) * 8);
  }
  int left = quarter;
  for (int slab = 0; slab < slabs; ++slab) {
    float* at = stage + (slab & 1) * kStageFloats;
    CARAT_UNROLL for (int h = 0; h < 2; ++h) widen(at + lane * kKeyStride + 8 * h, next[h]);
    warp_barrier();
    if (slab + 1 < slabs) {
      CARAT_UNROLL for (int h = 0; h < 2; ++h) {
        if (there) next[h] = load<Words4>(keys + ((2 * slab + 2 + h) * kKeysPerPage + lane) * 8);
      }
    }
    CARAT_UNROLL_1 for (int e = 0; e < kSlab; e += 4) {
      float k[4][4];
      CARAT_UNROLL for (int j = 0; j < 4; ++j) load_floats(at + (8 * j + key0) * kKeyStride + e, k[j]);
      CARAT_UNROLL for (int i = 0; i < 8; ++i) {
        float q[4];
        load_floats(query + (4 * i + row0) * stride + slab * kSlab + e, q);
        CARAT_UNROLL for (int d = 0; d < 4; ++d) {
          CARAT_UNROLL for (int j = 0; j < 4; ++j) chain[i][j] = fma_rn(k[j][d], q[d], chain[i][j]);
        }
      }
    }
    if (--left == 0) {  // the end of a quarter of the head
      left = quarter;
      CARAT_UNROLL for (int i = 0; i < 8; ++i) {
        CARAT_UNROLL for (int j = 0; j < 4; ++j) {
          total[i][j] = total[i][j] + chain[i][j];
          chain[i][j] = 0.0f;
        }
      }
    }
  }
  CARAT_UNROLL for (int i = 0; i < 8; ++i) {
    CARAT_UNROLL for (int j = 0; j < 4; ++j) weights[(4 * i + row0) * kWeightStride + 8 * j + key0] = total[i][j];
  }
}

// Scores of a row to weights, by a warp; what it is multiplied with when it is put to the splits before.
CARAT_DEVICE void tile_softmax(const TileState& s, int row, int begin, float* weights) {
  const int lane = lane_index();
  const int lo = most(s.first[row], begin) - begin, hi = least(s.until[row] + 1, begin + kSplit) - begin;
  float score[kSplit / 32];
  uint32_t top = 0;
  CARAT_UNROLL for (int k = 0; k < kSplit / 32; ++k) {
    const int key = lane + 32 * k;
    score[k] = key >= lo && key < hi ? weights[key] : -bits_to_float(0x7f800000u);
    const uint32_t order = order_of_score(score[k]);
    top = order > top ? order : top;
  }
  const float largest = score_of_order(warp_max(top));
  float sum = 0.0f;
  CARAT_UNROLL for (int k = 0; k < kSplit / 32; ++k) {
    const int key = lane + 32 * k;
    const float weight = key >= lo && key < hi ? exp_exact(score[k] - largest) : 0.0f;
    weights[key] = weight;
    sum = sum + weight;
  }
  sum = warp_halves(sum);
  if (lane != 0) return;
  if (hi <= lo) {
    s.mode[row] = least(s.mode[row], 0);
  } else if (s.mode[row] < 0) {  // nothing before
    s.mode[row] = 1;
    s.largest[row] = largest;
    s.sum[row] = sum;
  } else {
    const Rescale r = rescale(s.largest[row], largest);
    s.mode[row] = 2;
    s.largest[row] = r.largest;
    s.sum[row] = fma_rn(s.sum[row], r.old_factor, sum * r.new_factor);
    s.old_factor[row] = r.old_factor;
    s.new_factor[row] = r.new_factor;
  }
}

// The tile's keys [lo, hi) of a split, and where they lie.
struct TileKeys {
  const int32_t* pages;
  int page_count, kv_heads, kv_head, begin, lo, hi;

  CARAT_METHOD int64_t page(int key) const {
    return static_cast<int64_t>(page_of(pages, page_count, begin + key)) * kv_heads + kv_head;
  }
};

// Weighted values of the warp's 32 columns, into total.
CARAT_DEVICE void tile_values(const TileKeys& keys, const uint16_t* v_cache, int E, int column, float* stage,
                              const float* weights, float (*total)[4]) {
  const int lane = lane_index(), row0 = lane >> 3, column0 = 4 * (lane & 7);
  CARAT_UNROLL for (int i = 0; i < 8; ++i) {
    CARAT_UNROLL for (int j = 0; j < 4; ++j) total[i][j] = 0.0f;
  }
  const int first = keys.lo / 32 * 2, end = (keys.hi + 31) / 32 * 2;  // slabs of 16 keys
  Words4 next[2];
  const auto fetch = [&](int slab) {
    const uint16_t* values = v_cache + (keys.page(slab * kSlab) * kKeysPerPage + slab * kSlab % kKeysPerPage) * E + column;
    CARAT_UNROLL for (int h = 0; h < 2; ++h) {
      const int key = 8 * h + lane / 4;
      next[h] = {0, 0, 0, 0};
      if (slab * kSlab + key >= keys.lo && slab * kSlab + key < keys.hi) {
        next[h] = load<Words4>(values + key * E + lane % 4 * 8);
      }
    }
  };
  fetch(first);
  float chain[8][4];
  for (int slab = first; slab < end; ++slab) {
    float* at = stage + (slab & 1) * kStageFloats;
    CARAT_UNROLL for (int h = 0; h < 2; ++h) widen(at + (8 * h + lane / 4) * kValueStride + lane % 4 * 8, next[h]);
    warp_barrier();
    if (slab + 1 < end) fetch(slab + 1);
    if (slab % 2 == 0) {
      CARAT_UNROLL for (int i = 0; i < 8; ++i) {
        CARAT_UNROLL for (int j = 0; j < 4; ++j) chain[i][j] = 0.0f;
      }
    }
    CARAT_UNROLL_1 for (int k = 0; k < kSlab; k += 4) {
      float v[4][4];
      CARAT_UNROLL for (int d = 0; d < 4; ++d) load_floats(at + (k + d) * kValueStride + column0, v[d]);
      CARAT_UNROLL for (int i = 0; i < 8; ++i) {
        float w[4];
        load_floats(weights + (4 * i + row0) * kWeightStride + slab * kSlab + k, w);
        CARAT_UNROLL for (int d = 0; d < 4; ++d) {
          CARAT_UNROLL for (int j = 0; j < 4; ++j) chain[i][j] = fma_rn(w[d], v[d][j], chain[i][j]);
        }
      }
    }
    if (slab % 2 == 1) {
      CARAT_UNROLL for (int i = 0; i < 8; ++i) {
        CARAT_UNROLL for (int j = 0; j < 4; ++j) total[i][j] = total[i][j] + chain[i][j];
      }
    }
  }
  warp_barrier();
}

// blockIdx: item (first row, rows: at most kQueryRows / heads of a kv head), kv head.
CARAT_KERNEL(attend_tiles, AttentionParams, kTileWarps * 32, 2) {
  next_may_begin();
  previous_wait();
  const int E = p.head_size, group = p.heads / p.kv_heads;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int first_row = p.items[2 * blockIdx.x], count = p.items[2 * blockIdx.x + 1];
  const int thread = thread_index(), lane = lane_index(), warp = warp_index();
  auto* shared = reinterpret_cast<float*>(shared_memory());
  const AttendLayout l = attend_layout(E);
  float* weights = shared + l.weights;
  float* stage = shared + l.stages + warp * 2 * kStageFloats;
  float* state = shared + l.state;
  TileState s{};
  s.largest = state;
  s.sum = state + kQueryRows;
  s.old_factor = state + 2 * kQueryRows;
  s.new_factor = state + 3 * kQueryRows;
  s.first = reinterpret_cast<int32_t*>(state + 4 * kQueryRows);
  s.until = reinterpret_cast<int32_t*>(state + 5 * kQueryRows);
  s.mode = reinterpret_cast<int32_t*>(state + 6 * kQueryRows);

  // Row r of the tile: position r / group, head r % group. Those that are not there see nothing.
  const int used = count * group;
  if (thread < kQueryRows) {
    const RowInfo info = p.rows[first_row + least(thread / group, count - 1)];
    s.first[thread] = first_key(p, info.position);
    s.until[thread] = thread < used ? info.sees_until : -1;
    s.mode[thread] = -1;
  }
  for (int i = thread; i < kQueryRows * E / 4; i += kTileWarps * 32) {
    const int r = i / (E / 4), e = i % (E / 4) * 4;
    Words4 v{0, 0, 0, 0};
    if (r < used) {
      const int64_t row = first_row + r / group;
      v = load<Words4>(p.qkv + (row * (p.heads + 2 * p.kv_heads) + kv_head * group + r % group) * E + e);
    }
    *reinterpret_cast<Words4*>(shared + r * (E + 4) + e) = v;
  }
  const RowInfo info = p.rows[first_row];
  const auto until = static_cast<int>(
      warp_max(static_cast<uint32_t>(p.rows[first_row + least(lane, count - 1)].sees_until)));
  const int first = first_key(p, info.position);
  TileKeys keys{p.pages + p.begin[info.seq], p.count[info.seq], p.kv_heads, kv_head, 0, 0, 0};
  const int row0 = lane >> 3, column = warp * 32, own = column + 4 * (lane & 7);
  const auto out_of = [&](int r) {
    return p.out + (static_cast<int64_t>(first_row + r / group) * p.heads + kv_head * group + r % group) * E + own;
  };
  block_barrier();

  for (int split = first / kSplit; split <= until / kSplit; ++split) {
    keys.begin = split * kSplit;
    keys.lo = most(first, keys.begin) - keys.begin;
    keys.hi = least(until + 1, keys.begin + kSplit) - keys.begin;
    if (warp * 32 < keys.hi && warp * 32 + 32 > keys.lo) {
      const uint16_t* of = p.k_cache + keys.page(warp * 32) * kKeysPerPage * E + warp * 32 % kKeysPerPage * 8;
      const int key = warp * 32 + lane;
      tile_scores(of, key >= keys.lo && key < keys.hi, shared, E, stage, weights + warp * 32);
    }
    block_barrier();
    for (int r = warp * 4; r < warp * 4 + 4; ++r) tile_softmax(s, r, keys.begin, weights + r * kWeightStride);
    block_barrier();
    if (column < E) {
      float total[8][4];
      tile_values(keys, p.v_cache, E, column, stage, weights, total);
      CARAT_UNROLL for (int i = 0; i < 8; ++i) {
        const int r = 4 * i + row0, mode = s.mode[r];
        if (mode <= 0) continue;
        float* out = out_of(r);
        float value[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (mode == 2) load_floats(out, value);
        CARAT_UNROLL for (int j = 0; j < 4; ++j) {
          value[j] = mode == 1 ? total[i][j] : fma_rn(value[j], s.old_factor[r], total[i][j] * s.new_factor[r]);
        }
        store_floats(out, value);
      }
    }
    block_barrier();
  }
  if (column >= E) return;
  CARAT_UNROLL for (int i = 0; i < 8; ++i) {
    const int r = 4 * i + row0;
    if (r >= used) continue;
    float* out = out_of(r);
    float value[4];
    load_floats(out, value);
    CARAT_UNROLL for (int j = 0; j < 4; ++j) value[j] = div_rn(value[j], s.sum[r]);
    store_floats(out, value);
  }
}

}  // namespace carat::cuda
