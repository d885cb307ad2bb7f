// A matrix times few rows: a block for a few groups of 8 outputs. Its weights come all at once, before the rows are there
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

  CARAT_METHOD void load_of(const Rounded& x, int chunk, int tile, int lane) {
    const int64_t fragment = static_cast<int64_t>(chunk) * (x.rows16 / 8) + tile;
    const uint8_t* from = (kFormat.quantised() ? x.planes + fragment * 2048 : x.pieces + fragment * 4096) + lane * 16;
    CARAT_UNROLL for (int i = 0; i < kPieces; ++i) {
      const Words4 v = load<Words4>(from + i * 512);
      high[i][0] = v.x, high[i][1] = v.y, low[i][0] = v.z, low[i][1] = v.w;
    }
    if constexpr (kFormat.quantised()) {
      CARAT_UNROLL for (int i = 0; i < 2; ++i) {
        const int64_t row = static_cast<int64_t>(chunk) * x.rows16 + tile * 8 + 2 * (lane & 3) + i;
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

// Segments of two tiles: acc[0], acc[1] of output g and rows 2t, 2t + 1, acc[2], acc[3] of output g of the second tile.
template <TileType kType>
CARAT_DEVICE void segment_of_columns(const uint8_t* first, const uint8_t* second, const ColumnFragments<kType>& x, int lane, float* acc) {
  constexpr TileFormat kFormat = tile_format(kType);
  const int g = lane >> 2, t = lane & 3;
  CARAT_UNROLL for (int e = 0; e < 4; ++e) acc[e] = 0.0f;
  if constexpr (kFormat.quantised()) {
    constexpr bool kSmall = sums_are_small(kType);
    constexpr int kSubs = kFormat.subs;
    CARAT_UNROLL for (int b = 0; b < kTileBlocks; ++b) {
      const Words2 w0 = tile_words<kType>(first, b, g, t), w1 = tile_words<kType>(second, b, g, t);
      const uint32_t a[4] = {w0.low, w1.low, w0.high, w1.high};
      const TileScales s[2] = {tile_scales<kType>(first, b, g), tile_scales<kType>(second, b, g)};
      int d[kSubs][4];
      if constexpr (kSubs == 1) {
        mma_k32_from(d[0], a, x.high[b][0], x.high[b][1], 0);
      } else {
        mma_k16_from(d[0], a[0], a[1], x.high[b][0], 0);
        mma_k16_from(d[1], a[2], a[3], x.high[b][1], 0);
      }
      CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
        CARAT_UNROLL for (int e = 0; e < 4; ++e) {
          int start = kSmall ? 0x4b400000 : 0;
          if constexpr (kFormat.offset != 0) start -= kFormat.offset * x.sums[e % 2][b][sub];
          d[sub][e] = shift_add_7(d[sub][e], start);
        }
      }
      if constexpr (kSubs == 1) {
        mma_k32(d[0], a, x.low[b][0], x.low[b][1]);
      } else {
        mma_k16(d[0], a[0], a[1], x.low[b][0]);
        mma_k16(d[1], a[2], a[3], x.low[b][1]);
      }
      CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
        CARAT_UNROLL for (int e = 0; e < 4; ++e) {
          const float isum = kSmall ? bits_to_float(static_cast<uint32_t>(d[sub][e])) - 12582912.0f : static_cast<float>(d[sub][e]);
          acc[e] = fma_rn(isum, s[e / 2].scale[sub] * x.scales[e % 2][b], acc[e]);
          if constexpr (kFormat.min) {
            acc[e] = fma_rn(static_cast<float>(x.sums[e % 2][b][sub]), s[e / 2].min[sub] * x.scales[e % 2][b], acc[e]);
          }
        }
      }
    }
  } else {
    CARAT_UNROLL for (int step = 0; step < 8; ++step) {
      uint32_t w0[2], w1[2], rest0[2], rest1[2];
      bf16_weights<kType>(first, step, g, t, w0, rest0);
      bf16_weights<kType>(second, step, g, t, w1, rest1);
      const uint32_t a[4] = {w0[0], w1[0], w0[1], w1[1]};
      mma_bf16(acc, a, x.high[step][0], x.high[step][1]);
      mma_bf16(acc, a, x.low[step][0], x.low[step][1]);
      if constexpr (kType != TileType::kBF16) {
        const uint32_t rest[4] = {rest0[0], rest1[0], rest0[1], rest1[1]};
        mma_bf16(acc, rest, x.high[step][0], x.high[step][1]);
        mma_bf16(acc, rest, x.low[step][0], x.low[step][1]);
      }
    }
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

// Sums of groups gate, up, gate, up ... of 8 rows: a warp for a row, a lane for a column of the next product's input.
template <TileType kType>
CARAT_DEVICE void few_gate(const FewParams& p, const float* part, int tile, int pitch, int lane, int warp, int warps) {
  const bool there = lane < p.groups * kTileRows / 2;
  for (int mine = warp; mine < 8; mine += warps) {
    const int row = tile * 8 + mine;
    if (row >= p.rows) break;
    const float* from = part + mine * pitch + (there ? lane / kTileRows * 2 * kTileRows + lane % kTileRows : 0);
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

// kMayGate: it may be what is between gate and up.
template <TileType kType, bool kMayGate>
CARAT_DEVICE void few(const FewParams& p) {
  constexpr int kTileBytes = tile_format(kType).tile_bytes();
  const int outputs = p.groups * kTileRows, pitch = outputs + 4;  // of a row of sums: no two lanes of a warp meet in a bank
  uint8_t* weights = shared_memory();  // [groups][chunks of a round] tiles
  auto* parts = reinterpret_cast<float*>(weights + p.groups * p.round * kTileBytes);  // [buffers][chunks of a round][8 rows][pitch]
  auto* arrival = reinterpret_cast<uint64_t*>(parts + p.buffers * p.round * 8 * pitch);
  const int threads = block_threads(), warps = threads / 32, warp = warp_index(), lane = lane_index();
  const int first_group = static_cast<int>(blockIdx.x) * p.groups;
  const int groups = least(p.groups, p.matrix.groups - first_group);
  const int chunks = p.matrix.chunks;
  const int first_tile = static_cast<int>(blockIdx.y) * p.tiles, end_tile = least(first_tile + p.tiles, (p.rows + 7) / 8);
  next_may_begin();
  if constexpr (kBulkCopies) {
    if (thread_index() == 0) {
      arrival_init(arrival, 1);
      arrival_fence();
    }
    block_barrier();
  }
  few_fetch<kType>(p, first_group, groups, 0, least(p.round, chunks), weights, arrival);
  previous_wait();

  ColumnFragments<kType> next;  // of this warp's next segment
  if (warp < least(p.round, chunks)) next.load_of(p.x, warp, first_tile, lane);
  uint32_t arrived = 0;
  bool fresh = true;
  int buffer = 0;
  for (int tile = first_tile; tile < end_tile; ++tile) {
    float total[kFewTotals];
    CARAT_UNROLL for (int k = 0; k < kFewTotals; ++k) total[k] = 0.0f;
    for (int first = 0; first < chunks; first += p.round) {
      const int count = least(p.round, chunks - first);
      const bool last = first + p.round >= chunks;
      const int then_first = last ? 0 : first + p.round, then_tile = last ? tile + 1 : tile;
      const bool then_there = then_tile < end_tile && warp < least(p.round, chunks - then_first);
      if (fresh) {
        if constexpr (kBulkCopies) {
          arrival_wait(arrival, arrived);
          arrived ^= 1;
        } else {
          copy_async_wait<0>();
          block_barrier();
        }
        fresh = false;
      }
      float* part = parts + buffer * p.round * 8 * pitch;
      if (p.buffers == 2) buffer ^= 1;
      if (warp >= count && then_there) next.load_of(p.x, then_first + warp, then_tile, lane);
      CARAT_UNROLL_1 for (int i = warp; i < count; i += warps) {
        const ColumnFragments<kType> x = next;
        const bool more = i + warps < count;
        if (more || then_there) next.load_of(p.x, more ? first + i + warps : then_first + warp, more ? tile : then_tile, lane);
        float* to = part + (i * 8 + 2 * (lane & 3)) * pitch + (lane >> 2);
        const uint8_t* at = weights + i * kTileBytes;
        CARAT_UNROLL_1 for (int pair = 0; pair < p.groups / 2; ++pair) {
          float acc[4];
          segment_of_columns<kType>(at, at + count * kTileBytes, x, lane, acc);
          to[0] = acc[0];
          to[pitch] = acc[1];
          to[8] = acc[2];
          to[8 + pitch] = acc[3];
          to += 16;
          at += 2 * count * kTileBytes;
        }
      }
      block_barrier();
      if (chunks > p.round && !(last && tile + 1 == end_tile)) {
        few_fetch<kType>(p, first_group, groups, then_first, least(p.round, chunks - then_first), weights, arrival);
        fresh = true;
      }
      if (kMayGate && p.gate != 0) {
        few_gate<kType>(p, part, tile, pitch, lane, warp, warps);
      } else {
        CARAT_UNROLL for (int k = 0; k < kFewTotals; ++k) {
          const int mine = thread_index() + k * threads;
          if (mine >= 8 * outputs) continue;
          const int row = tile * 8 + mine / outputs, group = first_group + mine % outputs / kTileRows, r = mine % kTileRows;
          const float* from = part + mine / outputs * pitch + mine % outputs;
          CARAT_UNROLL_8 for (int i = 0; i < count; ++i) total[k] = total[k] + from[i * 8 * pitch];
          if (!last || row >= p.rows || group * kTileRows + r >= p.matrix.rows) continue;
          p.out[static_cast<int64_t>(row) * p.out_stride + (group * p.group_step + p.group_first) * kTileRows + r] =
              factor_of<kType>(p.x, row) * total[k];
        }
      }
      if (p.buffers == 1) block_barrier();
    }
  }
}

// few_deep: many columns, blocks with a multiprocessor to themselves; few: two of them share one.
#define CARAT_FEW(name)                                                                      \
  CARAT_KERNEL(few_##name, FewParams, kFewThreads, 2) { few<TileType::k##name, true>(p); }   \
  CARAT_KERNEL(few_deep_##name, FewParams, kDeepThreads, 1) { few<TileType::k##name, false>(p); }
CARAT_CUDA_TYPES(CARAT_FEW)
#undef CARAT_FEW

}  // namespace carat::cuda
