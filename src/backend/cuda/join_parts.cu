// Parts of tiles (attend_tiles.cu), put together as one block would have put together their splits: a warp for a row and a head of it,
// four columns a lane and those half a head further.
#include "backend/cuda/device/attention.cuh"
#include "backend/cuda/tiles_params.h"

namespace carat::cuda {

inline constexpr int kJoinHalf = 128, kJoinHalves = 2;  // columns of a warp's loads
inline constexpr int kJoinAhead = 4;                    // records that are asked for together

struct JoinedSplit {
  float largest, sum, value[kJoinHalves][4];
};

// Four columns of eight neighbouring lanes each, rounded as products of many rows read them (kExactForm).
CARAT_DEVICE void join_round(const AttentionParams& p, int row, int column, bool there, const float* value) {
  const Rounded& to = p.rounded;
  const int own = lane_index() % 8, block = column / 32, k = block % kTileBlocks, of_tile = row % kExactRows;
  const BlockScale scale = scale_of_block(largest_of_block(value));
  HalvesOfInteger q[4];
  CARAT_UNROLL for (int e = 0; e < 4; ++e) q[e] = halves_of(value[e] * scale.inverse);
  int sum = q[0].q + q[1].q + q[2].q + q[3].q;  // of 16 columns
  CARAT_UNROLL for (int width = 1; width < 4; width *= 2) sum += from_lane_xor(sum, width);
  if (!there) return;
  uint8_t* tile = exact_tile(to, block / kTileBlocks, row);
  store_exact_four(tile + exact_at(of_tile, k, 4 * own), q);
  if (own == 0) *exact_scale(tile, k, of_tile) = scale.scale;
  if (p.round == 2 && own % 4 == 0) *exact_sum(tile, k, own / 4, of_tile) = static_cast<float>(sum);
  if (column == 0) to.factors[row] = 1.0f;
}

// blockIdx: kv head, item (JoinItem), pairs of a row and a head of the tile.
CARAT_KERNEL(join_parts, AttentionParams, kJoinThreads, 2) {
  next_may_begin();
  const int E = p.head_size, group = p.heads / p.kv_heads, lane = lane_index();
  const int kv_head = static_cast<int>(blockIdx.x);
  const int pair = static_cast<int>(blockIdx.z) * (kJoinThreads / 32) + warp_index();
  previous_wait();
  const auto item = load<JoinItem>(p.items + blockIdx.y * kJoinItemWords);
  if (pair >= item.rows * group) return;
  const int row = item.first_row + pair / group, head = kv_head * group + pair % group;
  const RowInfo info = p.rows[row];
  // Record 0 is of all that the row sees before end_split, then comes one of each split. A row need not see all of them.
  const int first = first_key(p, info.position) / kSplit - item.end_split + 1;
  const int begin = most(first, 0), end = most(info.sees_until / kSplit - item.end_split + 2, 1);
  const int64_t stride = static_cast<int64_t>(p.kv_heads) * tile_record(E);
  const float* record = p.partials + (static_cast<int64_t>(item.record) * p.kv_heads + kv_head) * tile_record(E);
  const float* ends = record + kQueryRows * E + pair;
  const float* values = record + pair * E + 4 * lane;
  float largest = 0.0f, sum = 0.0f, value[kJoinHalves][4] = {};
  for (int from = begin; from < end; from += kJoinAhead) {
    JoinedSplit next[kJoinAhead];
    CARAT_UNROLL for (int i = 0; i < kJoinAhead; ++i) {
      const int64_t at = least(from + i, end - 1) * stride;
      next[i].largest = ends[at];
      next[i].sum = ends[at + kQueryRows];
      CARAT_UNROLL for (int half = 0; half < kJoinHalves; ++half) {
        const bool there = 4 * lane + half * kJoinHalf < E;
        four_of(there ? load<Words4>(values + at + half * kJoinHalf) : Words4{0, 0, 0, 0}, next[i].value[half]);
      }
    }
    CARAT_UNROLL for (int i = 0; i < kJoinAhead; ++i) {
      if (from + i >= end) break;
      const bool alone = from + i == begin;
      const Rescale r = rescale(largest, next[i].largest);
      largest = alone ? next[i].largest : r.largest;
      sum = alone ? next[i].sum : fma_rn(sum, r.old_factor, next[i].sum * r.new_factor);
      CARAT_UNROLL for (int half = 0; half < kJoinHalves; ++half) {
        CARAT_UNROLL for (int e = 0; e < 4; ++e) {
          const float of_split = next[i].value[half][e];
          value[half][e] = alone ? of_split : fma_rn(value[half][e], r.old_factor, of_split * r.new_factor);
        }
      }
    }
  }
  CARAT_UNROLL for (int half = 0; half < kJoinHalves; ++half) {
    const int column = 4 * lane + half * kJoinHalf;
    const bool there = column < E;
    CARAT_UNROLL for (int e = 0; e < 4; ++e) value[half][e] = there ? div_rn(value[half][e], sum) : 0.0f;
    if (p.round != 0) {
      join_round(p, row, head * E + column, there, value[half]);
    } else if (there) {
      store_four(p.out + (static_cast<int64_t>(row) * p.heads + head) * E + column, value[half]);
    }
  }
}

}  // namespace carat::cuda
