// Attention of many rows of one sequence (device/attention.cuh has the definition): a block for 32 pairs of a position and
// a query head that read the same keys. A split of 256 keys at a time, as two products on registers: scores, where each of
// the four warps has 64 keys, and values, where each has 64 columns. A lane holds 8 rows x 8 keys or columns; keys and
// values are widened once, in the warp's own place in shared memory.
//   What bounds it: a quarter of a multiprocessor reads one even and one odd register a clock, so that an fma of three registers takes
// two, unless one of them is that of the fma before (multiply) and the other two are of different kinds; so rows, keys and columns are
// loaded by four neighbours, and the assembler has registers to choose from. And shared memory gives a lane 16 bytes every fourth
// clock: 8 x 8 products a lane need 16 of those for 256 fma, as much as they take themselves; 8 x 4 needed 24.
//   A block has all splits of its tile, or a part of them (tiles_plan.h), which join_parts.cu puts to the others.
#include "backend/cuda/device/attention.cuh"
#include "backend/cuda/tiles_params.h"

namespace carat::cuda {

inline constexpr int kLaneRows = 8, kLaneKeys = kTilesKeys / 8;  // of a lane
inline constexpr int kTileWarps = kTilesThreads / 32;
inline constexpr int kWarpRows = kQueryRows / kTileWarps;  // that a warp makes weights of
inline constexpr int kSlab = 16;                           // columns of keys, or values, that are staged at a time
inline constexpr int kStageStride = kTilesKeys + 4;        // floats of a row of a stage
inline constexpr int kSlabLoads = kLaneKeys / 2;           // of 16 bytes of a slab, by a lane

// A lane's keys are lane_key() + 8 j, its columns 4 lane_key() + j and those 32 further, its rows row_of(i): two times four neighbours.
CARAT_DEVICE int lane_key() { return lane_index() >> 1 & 7; }
CARAT_DEVICE int lane_row() { return (lane_index() & 1) | (lane_index() >> 3 & 2); }
CARAT_DEVICE int row_of(int i) { return i / 4 * 16 + 4 * lane_row() + i % 4; }

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
// The same to places that are kStageStride apart.
CARAT_DEVICE void widen_across(float* to, const Words4& v) {
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
  CARAT_UNROLL for (int i = 0; i < 4; ++i) {
    to[2 * i * kStageStride] = half_to_float(static_cast<uint16_t>(words[i]));
    to[(2 * i + 1) * kStageStride] = half_to_float(static_cast<uint16_t>(words[i] >> 16));
  }
}

// Every product of a lane's rows and keys (or columns) to its sum, so that two neighbours have a row or a key in common.
CARAT_DEVICE void multiply(const float* row, const float* key, float (*sum)[kLaneRows]) {
  CARAT_UNROLL for (int i = 0; i < kLaneRows; ++i) {
    CARAT_UNROLL for (int n = 0; n < kLaneKeys; ++n) {
      const int j = i % 2 == 0 ? n : kLaneKeys - 1 - n;
      sum[j][i] = fma_rn(row[i], key[j], sum[j][i]);
    }
  }
}

// What a block knows of its rows between splits; in shared memory, so that no registers hold it through the loops.
struct TileState {
  float largest[kQueryRows], sum[kQueryRows], old_factor[kQueryRows], new_factor[kQueryRows];
  int32_t first[kQueryRows], until[kQueryRows];
  int32_t mode
      [kQueryRows];  // -1 has seen nothing yet, 0 sees nothing of this split, 1 its first, 2 to be put to those before
  int32_t row[kQueryRows],
      head[kQueryRows];  // of the step and of the model; of those that are not there, the first one's
  int32_t pages[2][4];   // of this split and the next
  float* out;            // where values between splits are, of rows row[] and heads head[]
  int32_t part;          // kWholeTile, kFirstPart, or kLaterPart, whose splits are not put together
};
inline constexpr int kWholeTile = 0, kFirstPart = 1, kLaterPart = 2;
static_assert(sizeof(TileState) <= kTilesState * 4);

// The tile's keys [lo, hi) of a split, and the pages where they lie.
struct TileKeys {
  int begin, lo, hi;
  const int32_t* pages;
};

// Scores of a tile's keys of a split into weights[key][row], by the block. Where they are of few warps, the head's quarters are
// shared out, too: `parts` warps for the same keys, whose sums are put together in order.
CARAT_DEVICE void tile_scores(const TileKeys& keys, const uint16_t* k_cache, int page_stride, const float* query, int E,
                              float* stage, float* weights) {
  const int begin = keys.lo / kTilesKeys, count = (keys.hi + kTilesKeys - 1) / kTilesKeys - begin;
  const int parts = 4 * count <= kTileWarps ? 4 : 2 * count <= kTileWarps ? 2 : 1, quarters = 4 / parts;
  const int lane = lane_index(), warp = warp_index(), part = warp % parts, own = begin + warp / parts;
  const bool busy = own < begin + count;
  const int at = lane_key() * kTilesStride + 4 * lane_row();
  float* home = weights + at + own * kTilesKeys * kTilesStride;
  float* place =
      part == 0 ? home
                : weights + at + (own + count) % kTileWarps * kTilesKeys * kTilesStride;  // of keys that no row sees
  float chain[kLaneKeys][kLaneRows];
  const auto begin_sums = [&](float* to) {
    CARAT_UNROLL for (int j = 0; j < kLaneKeys; ++j) {
      CARAT_UNROLL for (int i = 0; i < kLaneRows; i += 4) store_four(to + 8 * j * kTilesStride + 4 * i, chain[j] + i);
    }
  };
  const auto add_to_sums = [&](float* to) {
    CARAT_UNROLL for (int j = 0; j < kLaneKeys; ++j) {
      CARAT_UNROLL for (int i = 0; i < kLaneRows; i += 4) {
        float sum[4];
        load_four(to + 8 * j * kTilesStride + 4 * i, sum);
        CARAT_UNROLL for (int e = 0; e < 4; ++e) sum[e] = sum[e] + chain[j][i + e];
        store_four(to + 8 * j * kTilesStride + 4 * i, sum);
      }
    }
  };
  if (busy) {
    const float* q_at = query + part * quarters * (E / 4) * kQueryRows + 4 * lane_row();
    const float* k_at = stage + 4 * lane_key();
    float* widened = stage + 4 * (lane & 7) + lane / 8;  // so that keys of lane_key() + 8 j are neighbours
    const int lo = keys.lo - own * kTilesKeys - lane, hi = keys.hi - own * kTilesKeys - lane;
    const uint16_t* from = k_cache + static_cast<int64_t>(keys.pages[own * kTilesKeys / kKeysPerPage]) * page_stride +
                           (part * quarters * (E / 4) * kKeysPerPage + (own * kTilesKeys % kKeysPerPage + lane) * 8);
    Words4 next[kSlabLoads] = {};
    int left = quarters * (E / 4 / kSlab), other = 0;
    const auto fetch = [&] {
      CARAT_UNROLL for (int k = 0; k < kSlabLoads; ++k) {
        const int which = k / 2 * 32;
        if (which >= lo && which < hi && left > 0) next[k] = load<Words4>(from + (k % 2 * kKeysPerPage + which) * 8);
      }
      from += 2 * kKeysPerPage * 8;
    };
    // A slab is widened while the one before is multiplied, and asked for while that one is.
    const auto widen_next = [&](int stage_at) {
      CARAT_UNROLL for (int k = 0; k < kSlabLoads; ++k)
          widen_across(widened + stage_at + k % 2 * 8 * kStageStride + k / 2 * 32, next[k]);
      --left;
      fetch();
    };
    fetch();
    widen_next(0);
    CARAT_UNROLL_1 for (int quarter = 0; quarter < quarters; ++quarter) {
      if (quarter == 1) begin_sums(place);
      if (quarter > 1) add_to_sums(place);
      CARAT_UNROLL for (int j = 0; j < kLaneKeys; ++j) {
        CARAT_UNROLL for (int i = 0; i < kLaneRows; ++i) chain[j][i] = 0.0f;
      }
      CARAT_UNROLL_1 for (int slab = 0; slab < E / 4 / kSlab; ++slab) {
        warp_barrier();
        CARAT_UNROLL for (int e = 0; e < kSlab; ++e) {
          float k[kLaneKeys], q[kLaneRows];
          CARAT_UNROLL for (int j = 0; j < kLaneKeys; j += 4)
              load_four(k_at + other + e * kStageStride + 8 * j, k + j);
          CARAT_UNROLL for (int i = 0; i < kLaneRows; i += 4) load_four(q_at + e * kQueryRows + 4 * i, q + i);
          multiply(q, k, chain);
          if (e == kSlab / 2 - 1) widen_next(kTilesStage - other);
        }
        q_at += kSlab * kQueryRows, other = kTilesStage - other;
      }
    }
  }
  CARAT_UNROLL_1 for (int turn = 0; turn < parts; ++turn) {
    if (busy && part == turn) {
      if (part != 0 && parts == 2) {
        CARAT_UNROLL for (int j = 0; j < kLaneKeys; ++j) {
          CARAT_UNROLL for (int i = 0; i < kLaneRows; i += 4) {
            const int which = 8 * j * kTilesStride + 4 * i;
            float first[4], then[4];
            load_four(home + which, first);
            load_four(place + which, then);
            CARAT_UNROLL for (int e = 0; e < 4; ++e) first[e] = first[e] + then[e];
            store_four(home + which, first);
          }
        }
      }
      if (part == 0 && quarters == 1) {
        begin_sums(home);
      } else {
        add_to_sums(home);
      }
    }
    block_barrier();
  }
}

// Scores of four rows to weights, by a warp; what they are multiplied with when they are put to the splits before.
CARAT_DEVICE void tile_softmax(TileState& s, int row0, const TileKeys& keys, float* weights) {
  constexpr int kRows = 4;
  const int lane = lane_index();
  const float nothing = -bits_to_float(0x7f800000u);
  float largest[kRows], sum[kRows];
  int lo[kRows], hi[kRows], all_lo = 0, all_hi = kSplit;  // what each row sees, what all of them do
  CARAT_UNROLL for (int r = 0; r < kRows; ++r) {
    lo[r] = most(s.first[row0 + r], keys.begin) - keys.begin;
    hi[r] = least(s.until[row0 + r] + 1, keys.begin + kSplit) - keys.begin;
    all_lo = most(all_lo, lo[r]), all_hi = least(all_hi, hi[r]);
    largest[r] = nothing;
    sum[r] = 0.0f;
  }
  const int first = keys.lo & ~31, end = keys.hi;
  CARAT_UNROLL_1 for (int key0 = first; key0 < end; key0 += 32) {
    const int key = key0 + lane;
    const bool all = key0 >= all_lo && key0 + 32 <= all_hi;
    float score[kRows];
    load_four(weights + key * kTilesStride, score);
    CARAT_UNROLL for (int r = 0; r < kRows; ++r) {
      largest[r] = no_less(all || (key >= lo[r] && key < hi[r]) ? score[r] : nothing, largest[r]);
    }
  }
  CARAT_UNROLL for (int r = 0; r < kRows; ++r) largest[r] = score_of_order(warp_max(order_of_score(largest[r])));
  CARAT_UNROLL_1 for (int key0 = first; key0 < end; key0 += 32) {
    const int key = key0 + lane;
    const bool all = key0 >= all_lo && key0 + 32 <= all_hi;
    float weight[kRows];
    load_four(weights + key * kTilesStride, weight);
    CARAT_UNROLL for (int r = 0; r < kRows; ++r) {
      weight[r] = exp_exact(weight[r] - largest[r]);
      weight[r] = all || (key >= lo[r] && key < hi[r]) ? weight[r] : 0.0f;
      sum[r] = sum[r] + weight[r];
    }
    store_four(weights + key * kTilesStride, weight);
  }
  CARAT_UNROLL for (int width = 16; width > 0; width /= 2) {
    CARAT_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = sum[r] + from_lane_xor(sum[r], width);
  }
  // A lane for each row.
  const int own = lane & 3, row = row0 + own;
  const auto of = [&](const float* of_rows) {
    return own == 0 ? of_rows[0] : own == 1 ? of_rows[1] : own == 2 ? of_rows[2] : of_rows[3];
  };
  const float own_largest = of(largest), own_sum = of(sum);
  const int own_lo = most(s.first[row], keys.begin), own_hi = least(s.until[row] + 1, keys.begin + kSplit);
  if (lane >= kRows) return;
  const int mode = s.mode[row];
  const float old_largest = s.largest[row], old_sum = s.sum[row];
  const Rescale r = rescale(old_largest, own_largest);
  if (own_hi <= own_lo) {
    s.mode[row] = least(mode, 0);
  } else if (mode < 0) {  // nothing before
    s.mode[row] = 1;
    s.largest[row] = own_largest;
    s.sum[row] = own_sum;
  } else {
    s.mode[row] = 2;
    s.largest[row] = r.largest;
    s.sum[row] = fma_rn(old_sum, r.old_factor, own_sum * r.new_factor);
    s.old_factor[row] = r.old_factor;
    s.new_factor[row] = r.new_factor;
  }
}

// Weighted values of the warp's columns, into total. `values`: of the first page, at the warp's columns.
CARAT_DEVICE void tile_values(const TileKeys& keys, const uint16_t* values, int page_stride, int E, float* stage,
                              const float* weights, float (*total)[kLaneRows]) {
  const int lane = lane_index();
  CARAT_UNROLL for (int j = 0; j < kLaneKeys; ++j) {
    CARAT_UNROLL for (int i = 0; i < kLaneRows; ++i) total[j][i] = 0.0f;
  }
  constexpr int kLanes = kTilesKeys / 8, kStep = 32 / kLanes;  // lanes of a key's columns, keys of a load
  const int own = lane / kLanes * E + lane % kLanes * 8;
  float* widened = stage + lane / kLanes * kStageStride + lane % kLanes * 8;
  const float* v_at = stage + 4 * lane_key();
  const float* w_at = weights + 4 * lane_row();
  Words4 next[kSlabLoads];
  const auto fetch = [&](int key0) {
    const uint16_t* from = values + static_cast<int64_t>(keys.pages[key0 / kKeysPerPage & 3]) * page_stride +
                           (key0 % kKeysPerPage * E + own);
    const int lo = keys.lo - lane / kLanes, hi = keys.hi - lane / kLanes;
    CARAT_UNROLL for (int h = 0; h < kSlabLoads; ++h) {
      next[h] = {0, 0, 0, 0};
      if (key0 + kStep * h >= lo && key0 + kStep * h < hi) next[h] = load<Words4>(from + kStep * h * E);
    }
  };
  const auto widen_next = [&](int stage_at, int key_after) {
    CARAT_UNROLL for (int h = 0; h < kSlabLoads; ++h) widen(widened + stage_at + kStep * h * kStageStride, next[h]);
    fetch(key_after);
  };
  const int end = keys.hi;
  int key0 = keys.lo / 32 * 32;
  fetch(key0);
  widen_next(0, key0 + kSlab);
  CARAT_UNROLL_1 for (; key0 < end; key0 += 32) {
    float chain[kLaneKeys][kLaneRows];
    CARAT_UNROLL for (int j = 0; j < kLaneKeys; ++j) {
      CARAT_UNROLL for (int i = 0; i < kLaneRows; ++i) chain[j][i] = 0.0f;
    }
    CARAT_UNROLL_1 for (int slab = 0; slab < 2; ++slab) {
      const int at = slab * kTilesStage;
      warp_barrier();
      const float* w_of = w_at + (key0 + slab * kSlab) * kTilesStride;
      CARAT_UNROLL for (int k = 0; k < kSlab; ++k) {
        float v[kLaneKeys], w[kLaneRows];
        CARAT_UNROLL for (int j = 0; j < kLaneKeys; j += 4) load_four(v_at + at + k * kStageStride + 8 * j, v + j);
        CARAT_UNROLL for (int i = 0; i < kLaneRows; i += 4) load_four(w_of + k * kTilesStride + 4 * i, w + i);
        multiply(w, v, chain);
        if (k == kSlab / 2 - 1) widen_next(kTilesStage - at, key0 + kSlab * (slab + 2));
      }
    }
    CARAT_UNROLL for (int j = 0; j < kLaneKeys; ++j) {
      CARAT_UNROLL for (int i = 0; i < kLaneRows; ++i) total[j][i] = total[j][i] + chain[j][i];
    }
  }
  warp_barrier();
}

// Those of the split to those before, in `out` (at the lane's columns); in the last split what they come to.
CARAT_DEVICE void tile_add(const TileState& s, const AttentionParams& p, bool last, float (*total)[kLaneRows],
                           float* out) {
  const auto of_row = [&](int r) { return out + (static_cast<int64_t>(s.row[r]) * p.heads + s.head[r]) * p.head_size; };
  float old[kLaneRows][kLaneKeys];
  CARAT_UNROLL for (int i = 0; i < kLaneRows; ++i) {
    const int r = row_of(i), mode = s.mode[r];
    if (mode != 2 && !(last && mode == 0)) continue;
    CARAT_UNROLL for (int j = 0; j < kLaneKeys; j += 4) load_four(of_row(r) + 8 * j, old[i] + j);
  }
  keep_order();  // loads before stores: a load behind a store waits for it
  const bool stored = !last || p.round == 0;
  CARAT_UNROLL for (int i = 0; i < kLaneRows; ++i) {
    const int r = row_of(i), mode = s.mode[r];
    if (mode < 0 || (mode == 0 && !last)) continue;
    CARAT_UNROLL for (int j = 0; j < kLaneKeys; ++j) {
      total[j][i] = mode == 1   ? total[j][i]
                    : mode == 0 ? old[i][j]
                                : fma_rn(old[i][j], s.old_factor[r], total[j][i] * s.new_factor[r]);
      if (last) total[j][i] = div_rn(total[j][i], s.sum[r]);
    }
    if (!stored) continue;
    CARAT_UNROLL for (int j = 0; j < kLaneKeys; j += 4) {
      const float value[4] = {total[j][i], total[j + 1][i], total[j + 2][i], total[j + 3][i]};
      store_four(of_row(r) + 8 * j, value);
    }
  }
}

// What 32 columns come to, rounded as products of many rows read it: eight lanes have a block of 8 rows each.
CARAT_DEVICE void tile_round(const TileState& s, const AttentionParams& p, int column,
                             const float (*value)[kLaneRows]) {
  const Rounded& to = p.rounded;
  const int own = lane_key();
  uint32_t largest = 0;  // of the row whose factors this lane finds
  CARAT_UNROLL for (int i = 0; i < kLaneRows; ++i) {
    uint32_t of_row = 0;
    CARAT_UNROLL for (int j = 0; j < 4; ++j) {
      const uint32_t magnitude = float_bits(value[j][i]) & 0x7fffffffu;
      of_row = magnitude > of_row ? magnitude : of_row;
    }
    CARAT_UNROLL for (int width = 2; width < 16; width *= 2) {
      const uint32_t other = from_lane_xor(of_row, width);
      of_row = other > of_row ? other : of_row;
    }
    largest = own == i ? of_row : largest;
  }
  const BlockScale scale = scale_of_block(largest);
  CARAT_UNROLL for (int i = 0; i < kLaneRows; ++i) {
    const int r = row_of(i), row = s.row[r], block = (s.head[r] * p.head_size + column) / 32;
    const float inverse = from_lane(scale.inverse, (lane_index() & 17) + 2 * i);
    HalvesOfInteger q[4];
    CARAT_UNROLL for (int j = 0; j < 4; ++j) q[j] = halves_of(value[j][i] * inverse);
    int sum = 0;  // of 16 columns
    if (p.round == 2) {
      sum = q[0].q + q[1].q + q[2].q + q[3].q;
      CARAT_UNROLL for (int width = 2; width < 8; width *= 2) sum += from_lane_xor(sum, width);
    }
    if (s.mode[r] < 0) continue;
    uint8_t* tile = exact_tile(to, block / kTileBlocks, row);
    const int k = block % kTileBlocks, of_tile = row % kExactRows;
    store_exact_four(tile + exact_at(of_tile, k, 4 * own), q);
    if (own == i) {
      *exact_scale(tile, k, of_tile) = scale.scale;
      if (block == 0) to.factors[row] = 1.0f;
    }
    if (p.round == 2 && own % 4 == 0) *exact_sum(tile, k, own / 4, of_tile) = static_cast<float>(sum);
  }
}

// What a split or, of the first part, all splits so far have left, beside values: for whoever joins the parts.
CARAT_DEVICE void tile_leave(const TileState& s, int E) {
  const int row = thread_index();
  if (s.part == kWholeTile || row >= kQueryRows) return;
  float* to = s.out + kQueryRows * E + row;
  to[0] = s.largest[row];
  to[kQueryRows] = s.sum[row];
}

// Values of a split, put to those before.
CARAT_DEVICE void tile_split_values(const TileState& s, const AttentionParams& p, const TileKeys& keys,
                                    const uint16_t* values, int page_stride, bool last, int column, float* stage,
                                    const float* weights) {
  float total[kLaneKeys][kLaneRows];
  tile_values(keys, values, page_stride, p.head_size, stage, weights, total);
  tile_add(s, p, last, total, s.out + column + 4 * lane_key());
  if (!last || p.round == 0) return;
  CARAT_UNROLL for (int j = 0; j < kLaneKeys; j += 4) tile_round(s, p, column + 8 * j, total + j);
}

// blockIdx: kv head, item (tiles_params.h).
CARAT_KERNEL(attend_tiles, AttentionParams, kTilesThreads, 2) {
  next_may_begin();
  previous_wait();
  const int E = p.head_size, group = p.heads / p.kv_heads;
  const int kv_head = static_cast<int>(blockIdx.x);
  const TileItem item = load<TileItem>(p.items + blockIdx.y * kTileItemWords);
  const int first_row = item.first_row, count = item.rows;
  const int thread = thread_index(), lane = lane_index(), warp = warp_index();
  auto* shared = reinterpret_cast<float*>(shared_memory());
  float* weights = shared + 256 * kQueryRows;  // behind queries, [E][kQueryRows]
  float* stage = weights + kSplit * kTilesStride + warp * 2 * kTilesStage;
  auto& s = *reinterpret_cast<TileState*>(weights + kSplit * kTilesStride + kTileWarps * 2 * kTilesStage);

  // Row r of the tile: position r / group, head r % group. Those that are not there see nothing.
  const int used = count * group;
  const RowInfo info = p.rows[first_row];
  const auto until =
      static_cast<int>(warp_max(static_cast<uint32_t>(p.rows[first_row + least(lane, count - 1)].sees_until)));
  const int first = first_key(p, info.position), first_split = item.first_split, last_split = item.end_split - 1;
  const int32_t* pages = p.pages + p.begin[info.seq];
  const int page_count = p.count[info.seq];
  const auto page_of_lane = [&](int split) {
    return page_of(pages, page_count, split * kSplit + (lane & 3) * kKeysPerPage);
  };
  if (thread < 4) s.pages[first_split & 1][thread] = page_of_lane(first_split);
  const bool whole = item.record < 0;
  const int final_split = whole ? last_split : -1;  // behind which values are divided and rounded
  if (thread == 0) {
    s.part = whole ? kWholeTile : first_split == first / kSplit ? kFirstPart : kLaterPart;
    s.out = whole ? p.out : p.partials + (static_cast<int64_t>(item.record) * p.kv_heads + kv_head) * tile_record(E);
  }
  if (thread < kQueryRows) {
    const RowInfo own = p.rows[first_row + least(thread / group, count - 1)];
    s.first[thread] = first_key(p, own.position);
    s.until[thread] = thread < used ? own.sees_until : -1;
    s.mode[thread] = -1;
    s.row[thread] = whole ? first_row + (thread < used ? thread / group : 0) : 0;
    s.head[thread] =
        whole ? kv_head * group + (thread < used ? thread % group : 0) : thread;  // in a record one behind the other
    s.largest[thread] = 0.0f;
    s.sum[thread] = 0.0f;
  }
  // A lane has a row; a warp eight columns of them.
  const float* of_lane = p.qkv + (static_cast<int64_t>(first_row + lane / group) * (p.heads + 2 * p.kv_heads) +
                                  kv_head * group + lane % group) *
                                     E;
  constexpr int kOctets = 32 / kTileWarps;
  Words4 query[kOctets][2] = {};
  CARAT_UNROLL for (int k = 0; k < kOctets; ++k) {
    const int e = (k * kTileWarps + warp) * 8;
    CARAT_UNROLL for (int h = 0; h < 2; ++h) {
      if (lane < used && e < E) query[k][h] = load<Words4>(of_lane + e + 4 * h);
    }
  }
  CARAT_UNROLL for (int k = 0; k < kOctets; ++k) {
    CARAT_UNROLL for (int h = 0; h < 2; ++h) {
      float* to = shared + ((k * kTileWarps + warp) * 8 + 4 * h) * kQueryRows + lane;
      const Words4 v = query[k][h];
      to[0] = bits_to_float(v.x), to[kQueryRows] = bits_to_float(v.y);
      to[2 * kQueryRows] = bits_to_float(v.z), to[3 * kQueryRows] = bits_to_float(v.w);
    }
  }
  const int column = warp * kTilesKeys;
  const int page_stride = p.kv_heads * kKeysPerPage * E;
  const uint16_t* k_cache = p.k_cache + static_cast<int64_t>(kv_head) * kKeysPerPage * E;
  const uint16_t* v_cache = p.v_cache + static_cast<int64_t>(kv_head) * kKeysPerPage * E + column;
  block_barrier();

  for (int split = first_split; split <= last_split; ++split) {
    const int begin = split * kSplit;
    const TileKeys keys{begin, most(first - begin, 0), least(until + 1 - begin, kSplit), s.pages[split & 1]};
    if (thread < 4 && split < last_split) s.pages[(split + 1) & 1][thread] = page_of_lane(split + 1);
    tile_scores(keys, k_cache, page_stride, shared, E, stage, weights);
    CARAT_UNROLL_1 for (int r = warp * kWarpRows; r < warp * kWarpRows + kWarpRows; r += 4)
        tile_softmax(s, r, keys, weights + r);
    block_barrier();
    if (column < E) {
      tile_split_values(s, p, keys, v_cache, page_stride, split == final_split, column, stage, weights);
    }
    tile_leave(s, E);
    block_barrier();
    // The next split of a later part begins anew; nobody looks before the barriers of its scores.
    if (s.part == kLaterPart && thread < kQueryRows) {
      s.mode[thread] = -1;
      if (thread == 0) s.out += static_cast<int64_t>(p.kv_heads) * tile_record(E);
    }
  }
}

}  // namespace carat::cuda
