// A matrix times up to eight rows: a block for a few groups of 8 outputs. Its weights come all at once, before the rows are there
// (Launch::early); its warps take segments of 128 columns, which are then added in their order. Two tiles of weights are the 16 rows
// of mma's A and 8 rows of activations the columns of its B, so that eight rows cost half of what sixteen do.
//   Between gate and up a block holds what 32 neighbours need, and leaves the next product's input.
#include "backend/cuda/device/product.cuh"
#include "backend/cuda/device/rounding.cuh"

namespace carat::cuda {

// Eight rows of activations of a chunk, as a lane of mma has them: column g = lane / 4.
template <TileType kType>
struct ColumnFragments {
  static constexpr TileFormat kFormat = tile_format(kType);
  static constexpr int kPieces = kFormat.quantised() ? 4 : 8;  // blocks of 32, steps of 16 columns
  static constexpr bool kSums = kFormat.min || kFormat.offset != 0;
  uint32_t high[kPieces][2], low[kPieces][2];
  float scales[2][4];  // of rows 2t, 2t + 1
  int sums[2][4][2];

  CARAT_METHOD void load_of(const Rounded& x, int chunk, int lane) {
    const int64_t fragment = static_cast<int64_t>(chunk) * (x.rows16 / 8);
    const uint8_t* from = (kFormat.quantised() ? x.planes + fragment * 2048 : x.pieces + fragment * 4096) + lane * 16;
    CARAT_UNROLL for (int i = 0; i < kPieces; ++i) {
      const Words4 v = load<Words4>(from + i * 512);
      high[i][0] = v.x, high[i][1] = v.y, low[i][0] = v.z, low[i][1] = v.w;
    }
    if constexpr (kFormat.quantised()) {
      CARAT_UNROLL for (int i = 0; i < 2; ++i) {
        const int64_t row = static_cast<int64_t>(chunk) * x.rows16 + 2 * (lane & 3) + i;
        const Words4 four = load<Words4>(x.scales + row * 4);
        scales[i][0] = bits_to_float(four.x), scales[i][1] = bits_to_float(four.y);
        scales[i][2] = bits_to_float(four.z), scales[i][3] = bits_to_float(four.w);
        if constexpr (kSums) {
          const Words4 s0 = load<Words4>(x.sums + row * 8), s1 = load<Words4>(x.sums + row * 8 + 4);
          const uint32_t of[8] = {s0.x, s0.y, s0.z, s0.w, s1.x, s1.y, s1.z, s1.w};
          CARAT_UNROLL for (int b = 0; b < 4; ++b) {
            sums[i][b][0] = static_cast<int>(kFormat.subs == 1 ? of[2 * b] + of[2 * b + 1] : of[2 * b]);
            sums[i][b][1] = static_cast<int>(of[2 * b + 1]);
          }
        }
      }
    }
  }
};

// Segments of kPairs pairs of tiles, `stride` bytes from one to the next: acc[..][0], [1] of output g of the first tile and rows 2t,
// 2t + 1, [2], [3] of output g of the second. Two mma that do not wait for each other come one after the other.
template <TileType kType, int kPairs>
CARAT_DEVICE void segments_of_columns(const uint8_t* tiles, int stride, const ColumnFragments<kType>& x, int lane, float (*acc)[4]) {
  constexpr TileFormat kFormat = tile_format(kType);
  const int g = lane >> 2, t = lane & 3;
  CARAT_UNROLL for (int n = 0; n < kPairs; ++n) {
    CARAT_UNROLL for (int e = 0; e < 4; ++e) acc[n][e] = 0.0f;
  }
  if constexpr (kFormat.quantised()) {
    constexpr bool kSmall = sums_are_small(kType);
    constexpr int kSubs = kFormat.subs, kAtOnce = 2, kBlocks = kAtOnce / kPairs;  // of a pair, at once
    CARAT_UNROLL for (int first = 0; first < kTileBlocks; first += kBlocks) {
      uint32_t a[kAtOnce][4];
      int d[kAtOnce][kSubs][4];
      CARAT_UNROLL for (int i = 0; i < kAtOnce; ++i) {
        const int b = first + i % kBlocks;
        const uint8_t* tile = tiles + 2 * (i / kBlocks) * stride;
        const Words2 w0 = tile_words<kType>(tile, b, g, t), w1 = tile_words<kType>(tile + stride, b, g, t);
        a[i][0] = w0.low, a[i][1] = w1.low, a[i][2] = w0.high, a[i][3] = w1.high;
        if constexpr (kSubs == 1) {
          mma_k32_from(d[i][0], a[i], x.high[b][0], x.high[b][1], 0);
        } else {
          mma_k16_from(d[i][0], a[i][0], a[i][1], x.high[b][0], 0);
          mma_k16_from(d[i][1], a[i][2], a[i][3], x.high[b][1], 0);
        }
      }
      CARAT_UNROLL for (int i = 0; i < kAtOnce; ++i) {
        const int b = first + i % kBlocks;
        CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
          CARAT_UNROLL for (int e = 0; e < 4; ++e) {
            int start = kSmall ? 0x4b400000 : 0;
            if constexpr (kFormat.offset != 0) start -= kFormat.offset * x.sums[e % 2][b][sub];
            d[i][sub][e] = shift_add_7(d[i][sub][e], start);
          }
        }
        if constexpr (kSubs == 1) {
          mma_k32(d[i][0], a[i], x.low[b][0], x.low[b][1]);
        } else {
          mma_k16(d[i][0], a[i][0], a[i][1], x.low[b][0]);
          mma_k16(d[i][1], a[i][2], a[i][3], x.low[b][1]);
        }
      }
      CARAT_UNROLL for (int i = 0; i < kAtOnce; ++i) {
        const int b = first + i % kBlocks;
        const uint8_t* tile = tiles + 2 * (i / kBlocks) * stride;
        const TileScales s[2] = {tile_scales<kType>(tile, b, g), tile_scales<kType>(tile + stride, b, g)};
        float* of = acc[i / kBlocks];
        CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
          CARAT_UNROLL for (int e = 0; e < 4; ++e) {
            const float isum =
                kSmall ? bits_to_float(static_cast<uint32_t>(d[i][sub][e])) - 12582912.0f : static_cast<float>(d[i][sub][e]);
            of[e] = fma_rn(isum, s[e / 2].scale[sub] * x.scales[e % 2][b], of[e]);
            if constexpr (kFormat.min) {
              of[e] = fma_rn(static_cast<float>(x.sums[e % 2][b][sub]), s[e / 2].min[sub] * x.scales[e % 2][b], of[e]);
            }
          }
        }
      }
    }
  } else {
    CARAT_UNROLL for (int step = 0; step < 8; ++step) {
      CARAT_UNROLL for (int n = 0; n < kPairs; ++n) {
        const uint8_t* tile = tiles + 2 * n * stride;
        uint32_t w0[2], w1[2], rest0[2], rest1[2];
        bf16_weights<kType>(tile, step, g, t, w0, rest0);
        bf16_weights<kType>(tile + stride, step, g, t, w1, rest1);
        const uint32_t a[4] = {w0[0], w1[0], w0[1], w1[1]};
        mma_bf16(acc[n], a, x.high[step][0], x.high[step][1]);
        mma_bf16(acc[n], a, x.low[step][0], x.low[step][1]);
        if constexpr (kType != TileType::kBF16) {
          const uint32_t rest[4] = {rest0[0], rest1[0], rest0[1], rest1[1]};
          mma_bf16(acc[n], rest, x.high[step][0], x.high[step][1]);
          mma_bf16(acc[n], rest, x.low[step][0], x.low[step][1]);
        }
      }
    }
  }
}

// The same into their places among the sums.
template <TileType kType, int kPairs>
CARAT_DEVICE void put_segments(const uint8_t* tiles, int stride, const ColumnFragments<kType>& x, int lane, float* to, int pitch) {
  float acc[kPairs][4];
  segments_of_columns<kType, kPairs>(tiles, stride, x, lane, acc);
  CARAT_UNROLL for (int n = 0; n < kPairs; ++n) {
    to[n * 16] = acc[n][0];
    to[n * 16 + pitch] = acc[n][1];
    to[n * 16 + 8] = acc[n][2];
    to[n * 16 + 8 + pitch] = acc[n][3];
  }
}

CARAT_DEVICE void few_begin(uint64_t* arrival) {
  if constexpr (kBulkCopies) {
    if (thread_index() == 0) {
      arrival_init(arrival, 1);
      arrival_fence();
    }
    block_barrier();
  }
}
// What few_fetch asked for last is there. `arrived`: zero before the first time.
CARAT_DEVICE void few_wait(uint64_t* arrival, uint32_t& arrived) {
  if constexpr (kBulkCopies) {
    arrival_wait(arrival, arrived);
    arrived ^= 1;
  } else {
    copy_async_wait<0>();
    block_barrier();
  }
}
// Brings chunks [first, first + count) of the block's groups into shared memory.
template <TileType kType>
CARAT_DEVICE void few_fetch(const FewParams& p, int first_group, int groups, int first, int count, uint8_t* weights, uint64_t* arrival) {
  constexpr int kTileBytes = tile_format(kType).tile_bytes();
  const uint8_t* from = p.matrix.data + (static_cast<int64_t>(first_group) * p.matrix.chunks + first) * kTileBytes;
  const int64_t stride = static_cast<int64_t>(p.matrix.chunks) * kTileBytes;
  const int bytes = count * kTileBytes;
  if constexpr (kBulkCopies) {
    if (thread_index() == 0) arrival_expect(arrival, static_cast<uint32_t>(groups * bytes));
    if (thread_index() < groups) bulk_copy(weights + thread_index() * bytes, from + thread_index() * stride, static_cast<uint32_t>(bytes), arrival);
  } else {
    for (int group = 0; group < groups; ++group) {
      for (int i = thread_index() * 16; i < bytes; i += block_threads() * 16) {
        copy_async_16(weights + group * bytes + i, from + group * stride + i);
      }
    }
    copy_async_commit();
  }
}

// Sums of groups gate, up, gate, up ...: a warp for a row, a lane for a column of the next product's input.
template <TileType kType>
CARAT_DEVICE void few_gate(const FewParams& p, const float* part, int pitch, int lane, int warp, int warps) {
  const bool there = lane < p.groups * kTileRows / 2;
  for (int row = warp; row < p.rows; row += warps) {
    const float* from = part + row * pitch + (there ? lane / kTileRows * 2 * kTileRows + lane % kTileRows : 0);
    float gate = 0.0f, up = 0.0f;
    CARAT_UNROLL_8 for (int i = 0; i < p.matrix.chunks; ++i) {
      gate = gate + from[i * 8 * pitch];
      up = up + from[i * 8 * pitch + kTileRows];
    }
    const float factor = factor_of<kType>(p.x, row);
    const float value = gelu(factor * gate) * (factor * up);
    const int column = static_cast<int>(blockIdx.x) * p.groups / 2 * kTileRows + lane;
    if (p.gated.integers != 0) round_block(p.gated, row, column / 32, value);
    if (p.gated.floats != 0 && there) store_float(p.gated, row, column, value);
    if (blockIdx.x == 0 && lane == 0) p.gated.factors[row] = 1.0f;
  }
}

// kDeep: a warp has several segments, and asks for one's rows while it multiplies the other's.
template <TileType kType, bool kDeep>
CARAT_DEVICE void few(const FewParams& p) {
  constexpr int kTileBytes = tile_format(kType).tile_bytes();
  const int outputs = p.groups * kTileRows, pitch = outputs + 4;  // of a row of sums: no two lanes of a warp meet in a bank
  uint8_t* weights = shared_memory();  // [groups][chunks of a round] tiles
  auto* part = reinterpret_cast<float*>(weights + p.groups * p.round * kTileBytes);  // [chunks of a round][8 rows][pitch]
  auto* arrival = reinterpret_cast<uint64_t*>(part + p.round * 8 * pitch);
  const int threads = block_threads(), warps = threads / 32, warp = warp_index(), lane = lane_index();
  const int first_group = static_cast<int>(blockIdx.x) * p.groups;
  const int groups = least(p.groups, p.matrix.groups - first_group);
  const int chunks = p.matrix.chunks;
  next_may_begin();
  few_begin(arrival);
  few_fetch<kType>(p, first_group, groups, 0, least(p.round, chunks), weights, arrival);
  previous_wait();

  float total[kFewTotals];
  CARAT_UNROLL for (int k = 0; k < kFewTotals; ++k) total[k] = 0.0f;
  uint32_t arrived = 0;
  for (int first = 0; first < chunks; first += p.round) {
    const int count = least(p.round, chunks - first);
    const bool last = first + p.round >= chunks;
    ColumnFragments<kType> next;
    if (warp < count) next.load_of(p.x, first + warp, lane);
    few_wait(arrival, arrived);
    CARAT_UNROLL_1 for (int i = warp; i < count; i += warps) {
      const ColumnFragments<kType> x = next;
      if (kDeep && i + warps < count) next.load_of(p.x, first + i + warps, lane);
      float* to = part + (i * 8 + 2 * (lane & 3)) * pitch + (lane >> 2);
      const uint8_t* at = weights + i * kTileBytes;
      const int stride = count * kTileBytes;
      int group = 0;
      if constexpr (!kDeep) {
        CARAT_UNROLL_1 for (; group + 4 <= p.groups; group += 4) {
          put_segments<kType, 2>(at, stride, x, lane, to, pitch);
          to += 32;
          at += 4 * stride;
        }
      }
      CARAT_UNROLL_1 for (; group < p.groups; group += 2) {
        put_segments<kType, 1>(at, stride, x, lane, to, pitch);
        to += 16;
        at += 2 * stride;
      }
      if (!kDeep && i + warps < count) next.load_of(p.x, first + i + warps, lane);
    }
    block_barrier();
    if (!last) few_fetch<kType>(p, first_group, groups, first + p.round, least(p.round, chunks - first - p.round), weights, arrival);
    if (!kDeep && p.gate != 0) return few_gate<kType>(p, part, pitch, lane, warp, warps);
    CARAT_UNROLL for (int k = 0; k < kFewTotals; ++k) {
      const int mine = thread_index() + k * threads;
      if (mine >= 8 * outputs) continue;
      const int row = mine / outputs, group = first_group + mine % outputs / kTileRows, r = mine % kTileRows;
      const float* from = part + row * pitch + mine % outputs;
      CARAT_UNROLL_8 for (int i = 0; i < count; ++i) total[k] = total[k] + from[i * 8 * pitch];
      if (!last || row >= p.rows || group * kTileRows + r >= p.matrix.rows) continue;
      p.out[static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + r] =
          factor_of<kType>(p.x, row) * total[k];
    }
    block_barrier();
  }
}

// Many columns, shared out among three blocks: what one finds of another's outputs goes to that one, which adds all segments in their
// order. Where there are no clusters each of them multiplies everything for its own outputs.
template <TileType kType>
CARAT_DEVICE void few_shared(const FewParams& p) {
  constexpr int kTileBytes = tile_format(kType).tile_bytes(), kRow = kSharedPitch;
  const int chunks = p.matrix.chunks, rank = static_cast<int>(blockIdx.x) % kShares;
  uint8_t* weights = shared_memory();  // [groups][chunks of a share] tiles
  auto* part = reinterpret_cast<float*>(weights + shared_weights_bytes(kType, chunks));  // [own groups][chunks][8 rows][kRow]
  const int own_groups = (kSharedGroups - rank + kShares - 1) / kShares;
  auto* arrival = reinterpret_cast<uint64_t*>(part + (kSharedGroups + kShares - 1) / kShares * chunks * 8 * kRow);
  const int warps = block_threads() / 32, warp = warp_index(), lane = lane_index();
  const int first_group = static_cast<int>(blockIdx.x) / kShares * kSharedGroups;
  const int groups = least(kSharedGroups, p.matrix.groups - first_group);
  next_may_begin();
  few_begin(arrival);
  const auto begin_of = [&](int share) { return share * chunks / kShares; };
  const int first_share = kClusters ? rank : 0, end_share = kClusters ? rank + 1 : kShares;
  few_fetch<kType>(p, first_group, groups, begin_of(first_share), begin_of(first_share + 1) - begin_of(first_share), weights, arrival);
  cluster_barrier();  // all of them are there
  previous_wait();
  uint32_t arrived = 0;
  CARAT_UNROLL_1 for (int share = first_share; share < end_share; ++share) {
    const int first = begin_of(share), count = begin_of(share + 1) - first;
    ColumnFragments<kType> next;
    if (warp < count) next.load_of(p.x, first + warp, lane);
    few_wait(arrival, arrived);
    CARAT_UNROLL_1 for (int i = warp; i < count; i += warps) {
      const ColumnFragments<kType> x = next;
      if (i + warps < count) next.load_of(p.x, first + i + warps, lane);
      CARAT_UNROLL_1 for (int pair = 0; pair < kSharedGroups / 2; ++pair) {
        float acc[1][4];
        segments_of_columns<kType, 1>(weights + (pair * 2 * count + i) * kTileBytes, count * kTileBytes, x, lane, acc);
        CARAT_UNROLL for (int e = 0; e < 4; ++e) {
          const int group = 2 * pair + e / 2, owner = group % kShares;
          float* to = part + ((group / kShares * chunks + first + i) * 8 + 2 * (lane & 3) + e % 2) * kRow + (lane >> 2);
          if constexpr (kClusters) {
            cluster_store(to, owner, acc[0][e]);
          } else if (owner == rank) {
            *to = acc[0][e];
          }
        }
      }
    }
    block_barrier();
    if (share + 1 < end_share) {
      few_fetch<kType>(p, first_group, groups, begin_of(share + 1), begin_of(share + 2) - begin_of(share + 1), weights, arrival);
    }
  }
  cluster_barrier();  // so are all sums
  for (int mine = thread_index(); mine < own_groups * 8 * kTileRows; mine += block_threads()) {
    const int local = mine / (8 * kTileRows), row = mine / kTileRows % 8, r = mine % kTileRows;
    const int group = first_group + local * kShares + rank;
    const float* from = part + (local * chunks * 8 + row) * kRow + r;
    float total = 0.0f;
    CARAT_UNROLL_8 for (int i = 0; i < chunks; ++i) total = total + from[i * 8 * kRow];
    if (row >= p.rows || group * kTileRows + r >= p.matrix.rows) continue;
    p.out[static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + r] =
        factor_of<kType>(p.x, row) * total;
  }
}

// few_deep: many columns, blocks with a multiprocessor to themselves; few: two of them share one.
#define CARAT_FEW(name)                                                                          \
  CARAT_KERNEL(few_##name, FewParams, kFewThreads, 2) { few<TileType::k##name, false>(p); }       \
  CARAT_KERNEL(few_deep_##name, FewParams, kDeepThreads, 1) { few<TileType::k##name, true>(p); }  \
  CARAT_KERNEL_OF_CLUSTERS(few_shared_##name, FewParams, kSharedThreads, kShares) { few_shared<TileType::k##name>(p); }
CARAT_CUDA_TYPES(CARAT_FEW)
#undef CARAT_FEW

}  // namespace carat::cuda
