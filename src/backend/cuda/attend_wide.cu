// attend_fast.cu's attention on warpgroups (sm_90), heads of 256: two of them share 64 pairs of a position and a query head, and each has every other page of
// 64 keys; at the end one puts its sums to the other's. Four more warps bring keys (as they lie: cores of 8 keys x 8 columns) and values, whose places
// are free again as soon as scores, or sums, have been computed from them.
#include "backend/cuda/device/cores_mma.cuh"
#include "backend/cuda/device/attention.cuh"
#include "backend/cuda/device/halves.cuh"
#include "backend/cuda/exact_params.h"

namespace carat::cuda {

template <int kPieces>
CARAT_DEVICE void attend_wide(const AttentionParams& p) {
  if constexpr (kWarpgroups) {
    constexpr int E = 256, kSteps = E / 16, kPage = kKeysPerPage * E * 2, kQueries = kFastQueries * E * 2, kSums = E / 2;
    constexpr float kLog2e = 1.44269504088896341f, kNothing = -1e30f;
    next_may_begin();
    const int group = p.heads / p.kv_heads, kv_head = static_cast<int>(blockIdx.y);
    const int first_row = p.items[2 * blockIdx.x], count = p.items[2 * blockIdx.x + 1], used = count * group;
    const int thread = thread_index(), lane = lane_index(), warp = warp_index(), g = lane >> 2, t = lane & 3;
    const int team = warp / 4;  // 2: those that bring
    uint8_t* queries = shared_memory();
    uint8_t* pages = queries + kPieces * kQueries;  // [team][keys, values]
    auto* keys_there = reinterpret_cast<uint64_t*>(pages + 4 * kPage);
    uint64_t *keys_read = keys_there + 2, *values_there = keys_there + 4, *values_read = keys_there + 6, *sums_there = keys_there + 8;
    if (thread == 0) {
      for (int i = 0; i < 2; ++i) {
        arrival_init(keys_there + i, 1);
        arrival_init(keys_read + i, 4);
        arrival_init(values_there + i, 64);
        arrival_init(values_read + i, 4);
      }
      arrival_init(sums_there, 128);
      arrival_fence();
    }
    block_barrier();
    const RowInfo info = p.rows[first_row];
    const TileSight sight = sight_of(p, first_row, count, lane);
    const int start = sight.start, end = sight.end, all_from = sight.all_from, all_until = sight.all_until;
    const int first_page = start / kKeysPerPage, last_page = end / kKeysPerPage;
    const int32_t* table = p.pages + p.begin[info.seq];
    const int page_count = p.count[info.seq];
    previous_wait();

    if (team == 2) {
      fewer_registers<40>();
      const int own = (warp - 8) / 2, half = (warp - 8) % 2;  // two warps for each team
      int phase = 0;
      for (int page = first_page + own; page <= last_page; page += 2, phase ^= 1) {
        const int64_t at = (static_cast<int64_t>(page_of(table, page_count, page * kKeysPerPage)) * p.kv_heads + kv_head) * kKeysPerPage * E;
        uint8_t* keys = pages + own * 2 * kPage;
        uint8_t* values = keys + kPage;
        warp_barrier();  // the lanes have left the wait below one by one
        if (half == 0 && lane == 0) {
          arrival_wait(keys_read + own, static_cast<uint32_t>(phase ^ 1));
          arrival_expect(keys_there + own, kPage);
          bulk_copy(keys, p.k_cache + at, kPage, keys_there + own);
        }
        warp_barrier();
        arrival_wait(values_read + own, static_cast<uint32_t>(phase ^ 1));
        // [64 columns][64 keys][128 bytes], swizzled; neighbouring lanes have neighbouring columns.
        for (int i = half * 32 + lane; i < kKeysPerPage * E / 8; i += 64) {
          const int key = i / (E / 8), octet = i % (E / 8);
          uint8_t* to = values + octet / 8 * (kKeysPerPage * 128) + key * 128 + (octet % 8 ^ key % 8) * 16;
          if (page * kKeysPerPage + key <= end) {
            copy_async_16(to, p.v_cache + at + key * E + octet * 8);
          } else {  // nobody has written it: it must be a number
            *reinterpret_cast<Words4*>(to) = {0, 0, 0, 0};
          }
        }
        copy_async_commit();
        copy_async_wait<0>();
        stores_for_products();
        arrival_arrive(values_there + own);
      }
      return;
    }
    more_registers<224>();
    // Row r of the tile: position r / group, head r % group. As cores: [8 rows][E / 8][8 rows][16 bytes]; a warp has every eighth row, a lane an octet.
    Words4 own[kFastQueries / 8][2];  // all asked for at once
    CARAT_UNROLL for (int i = 0; i < kFastQueries / 8; ++i) {
      const int r = 8 * i + warp;
      const int64_t row = first_row + least(r / group, count - 1);
      const float* from = p.qkv + (row * (p.heads + 2 * p.kv_heads) + kv_head * group + r % group) * E + lane * 8;
      own[i][0] = load<Words4>(from), own[i][1] = load<Words4>(from + 4);
    }
    CARAT_UNROLL for (int i = 0; i < kFastQueries / 8; ++i) {
      const Words4 a = own[i][0], b = own[i][1];
      const float value[8] = {bits_to_float(a.x), bits_to_float(a.y), bits_to_float(a.z), bits_to_float(a.w),
                              bits_to_float(b.x), bits_to_float(b.y), bits_to_float(b.z), bits_to_float(b.w)};
      uint32_t high[4], low[4];
      split_octet(value, kLog2e, high, low);
      uint8_t* to = queries + i * (E / 8 * 128) + lane * 128 + warp * 16;
      *reinterpret_cast<Words4*>(to) = {high[0], high[1], high[2], high[3]};
      if constexpr (kPieces == 2) *reinterpret_cast<Words4*>(to + kQueries) = {low[0], low[1], low[2], low[3]};
    }
    stores_for_products();
    team_barrier(2, 256);
    int first[2], until[2];
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      const int r = warp % 4 * 16 + half * 8 + g;
      const int64_t row = first_row + least(r / group, count - 1);
      first[half] = first_key(p, p.rows[row].position);
      until[half] = r < used ? p.rows[row].sees_until : -1;
    }
    const Cores own_queries = cores_of(queries, E / 8 * 128, 128);
    const Cores keys = cores_of(pages + team * 2 * kPage, 128, kKeysPerPage * 16);
    const Cores values = swizzled_rows(pages + (team * 2 + 1) * kPage, kKeysPerPage * 128, 8 * 128);
    float out[kSums], largest[2] = {kNothing, kNothing}, sum[2] = {0.0f, 0.0f};
    CARAT_UNROLL for (int i = 0; i < kSums; ++i) out[i] = 0.0f;
    int phase = 0;
    for (int page = first_page + team; page <= last_page; page += 2, phase ^= 1) {
      const int key0 = page * kKeysPerPage;
      float s[32];
      arrival_wait(keys_there + team, static_cast<uint32_t>(phase));
      warpgroup_keep_64(s);
      warpgroup_begin();
      CARAT_UNROLL for (int step = 0; step < kSteps; ++step) {
        const Cores b = cores_after(keys, step * 2 * kKeysPerPage * 16);
        warpgroup_mma_scores(s, cores_after(own_queries, step * 256), b, step == 0);
        if constexpr (kPieces == 2) warpgroup_mma_scores(s, cores_after(own_queries, kQueries + step * 256), b, false);
      }
      warpgroup_commit();
      warpgroup_wait<0>();
      warpgroup_keep_64(s);
      if (lane == 0) arrival_arrive(keys_read + team);
      if (!(key0 >= all_from && key0 + kKeysPerPage - 1 <= all_until)) {
        CARAT_UNROLL for (int i = 0; i < 32; ++i) {
          const int key = key0 + i / 4 * 8 + 2 * t + i % 2;
          if (key < first[i / 2 % 2] || key > until[i / 2 % 2]) s[i] = kNothing;
        }
      }
      float top[2] = {s[0], s[2]};
      CARAT_UNROLL for (int i = 0; i < 32; ++i) top[i / 2 % 2] = larger(s[i], top[i / 2 % 2]);
      if (!warp_all(top[0] <= largest[0] + kLeeway && top[1] <= largest[1] + kLeeway)) {
        CARAT_UNROLL for (int half = 0; half < 2; ++half) {
          const float factor = raise_largest(top[half], largest[half]);
          sum[half] = sum[half] * factor;
          CARAT_UNROLL for (int j = 0; j < kSums / 4; ++j) {
            out[4 * j + 2 * half] = out[4 * j + 2 * half] * factor;
            out[4 * j + 2 * half + 1] = out[4 * j + 2 * half + 1] * factor;
          }
        }
      }
      uint32_t weights[4][4], rest[kPieces == 2 ? 4 : 1][4];
      CARAT_UNROLL for (int n = 0; n < 8; ++n) {
        CARAT_UNROLL for (int half = 0; half < 2; ++half) {
          const float a = exp2_near(s[4 * n + 2 * half] - largest[half]), b = exp2_near(s[4 * n + 2 * half + 1] - largest[half]);
          sum[half] = sum[half] + (a + b);
          const uint32_t word = pack_halves(a, b);
          weights[n / 2][n % 2 * 2 + half] = word;
          if constexpr (kPieces == 2) rest[n / 2][n % 2 * 2 + half] = pack_halves(a - low_half(word), b - high_half(word));
        }
      }
      arrival_wait(values_there + team, static_cast<uint32_t>(phase));
      warpgroup_keep_values(out);
      warpgroup_begin();
      CARAT_UNROLL for (int step = 0; step < 4; ++step) {
        const Cores b = cores_after(values, step * 16 * 128);
        warpgroup_mma_values(out, weights[step], b);
        if constexpr (kPieces == 2) warpgroup_mma_values(out, rest[step], b);
      }
      warpgroup_commit();
      warpgroup_wait<0>();
      warpgroup_keep_values(out);
      if (lane == 0) arrival_arrive(values_read + team);
    }
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      sum[half] = sum[half] + from_lane_xor(sum[half], 1);
      sum[half] = sum[half] + from_lane_xor(sum[half], 2);
    }
    // The second team's into shared memory, where its pages were, and put to the first one's.
    auto* others = reinterpret_cast<float*>(pages + 2 * kPage) + warp % 4 * 32 * kSums + lane;
    auto* other_rows = reinterpret_cast<float*>(pages + 4 * kPage + 128) + warp % 4 * 128 + lane;  // largest, sums
    if (team == 1) {
      team_barrier(1, 128);  // nobody multiplies what lies there
      CARAT_UNROLL for (int i = 0; i < kSums; ++i) others[i * 32] = out[i];
      CARAT_UNROLL for (int half = 0; half < 2; ++half) other_rows[half * 32] = largest[half], other_rows[(2 + half) * 32] = sum[half];
      arrival_arrive(sums_there);
      return;
    }
    arrival_wait(sums_there, 0);
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      const float other = other_rows[half * 32], top = larger(largest[half], other);
      const float of_own = exp2_near(largest[half] - top), of_other = exp2_near(other - top);
      const float factor = div_rn(1.0f, fma_rn(sum[half], of_own, other_rows[(2 + half) * 32] * of_other));
      const int r = warp % 4 * 16 + half * 8 + g;
      if (r >= used) continue;
      const int row = first_row + r / group, column = (kv_head * group + r % group) * E + 2 * t;
      float* to = p.out + static_cast<int64_t>(row) * p.heads * E + column;
      CARAT_UNROLL for (int j = 0; j < kSums / 4; ++j) {
        const int at = 4 * j + 2 * half;
        const float a = fma_rn(out[at], of_own, others[at * 32] * of_other) * factor;
        const float b = fma_rn(out[at + 1], of_own, others[(at + 1) * 32] * of_other) * factor;
        if (p.round != 0) {
          store_core_pair(p.rounded, row, column + 8 * j, a, b);
        } else {
          *reinterpret_cast<Floats2*>(to + 8 * j) = {a, b};
        }
      }
    }
  }
}

CARAT_KERNEL(attend_wide_1, AttentionParams, kAttendWideThreads, 1) { attend_wide<1>(p); }
CARAT_KERNEL(attend_wide_2, AttentionParams, kAttendWideThreads, 1) { attend_wide<2>(p); }

}  // namespace carat::cuda
