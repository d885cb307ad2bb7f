// A quantised matrix times many rows on sm_90, with the definition's bits: 128 outputs x 72 rows a block.
//   Weights are small integers and activations two halves, so a warpgroup's products of 16-bit floats add up the sums of integers without an error (all are
// below 2^24), and as floats: what is left for each output and block of 32 columns is scale * scale and one fma. Weights are the first operand, from
// registers, unpacked from the tiles as they lie; rows are the second one, in shared memory. While one block's sums are used the next one's are computed.
//   Types whose sums do not fit 24 bits (8-bit integers and tables) have those of the high plane apart.
#include "backend/cuda/device/gemm.cuh"
#include "backend/cuda/device/rounding.cuh"

namespace carat::cuda {

constexpr bool exact_sums_are_large(TileType type) { return tile_format(type).bits == 8 || tile_format(type).table; }
inline constexpr int kExactSums = 4 * kExactRowGroups;  // of a thread: rows of b x two rows of a

// The weights of rows g and g + 8 of 16 in a block of 32 columns: both steps of 16. Element i of a word is column 4 t + i: pairs are 0 and 2, 1 and 3.
template <TileType kType>
CARAT_DEVICE void exact_weights(const uint8_t* tiles, int block, int g, int t, uint32_t (*a)[4]) {
  constexpr TileFormat kFormat = tile_format(kType);
  constexpr bool kSigned = kFormat.bits == 8 || kFormat.table;
  constexpr uint32_t kZero = (0x6400 + (kSigned ? 128 : kFormat.offset)) * 0x10001u;  // 1024 + the offset, twice
  constexpr bool kNibbles = kFormat.bits == 4 && !kFormat.table;
  constexpr uint32_t kMask = kNibbles ? 0x000f000fu : 0x00ff00ffu;
  CARAT_UNROLL for (int half = 0; half < 2; ++half) {
    Words2 words{};
    if constexpr (kNibbles) {
      words.low = load<uint32_t>(tiles + half * kFormat.tile_bytes() + ((block * kTileRows + g) * 4 + t) * 4);
      words.high = words.low >> 4;
    } else {
      words = tile_words<kType>(tiles + half * kFormat.tile_bytes(), block, g, t);
    }
    CARAT_UNROLL for (int step = 0; step < 2; ++step) {
      uint32_t bytes = step == 0 ? words.low : words.high;
      if constexpr (kSigned) bytes ^= 0x80808080u;
      a[step][half] = halves_minus(masked_or(bytes, kMask, 0x64006400u), kZero);
      a[step][2 + half] = halves_minus(masked_or(bytes >> 8, kMask, 0x64006400u), kZero);
    }
  }
}

// What the sums of a unit (a block of 32 columns, or 16 of one) are multiplied with: known before they are.
template <TileType kType>
CARAT_DEVICE void exact_scales(const uint8_t* x, const uint8_t* tiles, int unit, int g, int t, float* scale) {
  constexpr TileFormat kFormat = tile_format(kType);
  const int block = unit / kFormat.subs, sub = unit % kFormat.subs;
  const float first = tile_scales<kType>(tiles, block, g).scale[sub];
  const float second = tile_scales<kType>(tiles + kFormat.tile_bytes(), block, g).scale[sub];
  const auto* at = reinterpret_cast<const float*>(x + kExactScales) + block * kExactRows + 2 * t;
  CARAT_UNROLL for (int j = 0; j < kExactRowGroups; ++j) {
    const auto of_x = load<Floats2>(at + 8 * j);
    scale[4 * j] = first * of_x.x, scale[4 * j + 1] = first * of_x.y;
    scale[4 * j + 2] = second * of_x.x, scale[4 * j + 3] = second * of_x.y;
  }
}

// The minimum's share of a unit.
template <TileType kType>
CARAT_DEVICE void exact_minima(const uint8_t* x, const uint8_t* tiles, int unit, int g, int t, float* acc) {
  constexpr TileFormat kFormat = tile_format(kType);
  constexpr int kSubs = kFormat.subs;
  const int block = unit / kSubs, sub = unit % kSubs;
  const float min[2] = {tile_scales<kType>(tiles, block, g).min[sub],
                        tile_scales<kType>(tiles + kFormat.tile_bytes(), block, g).min[sub]};
  const auto* at = reinterpret_cast<const float*>(x + kExactScales) + block * kExactRows + 2 * t;
  const auto* sums = reinterpret_cast<const float*>(x + kExactSumsAt) + block * 2 * kExactRows + 2 * t;
  CARAT_UNROLL for (int j = 0; j < kExactRowGroups; ++j) {
    const auto of_x = load<Floats2>(at + 8 * j);
    auto sum = load<Floats2>(sums + sub * kExactRows + 8 * j);
    if constexpr (kSubs == 1) {
      const auto rest = load<Floats2>(sums + kExactRows + 8 * j);
      sum = {sum.x + rest.x, sum.y + rest.y};
    }
    CARAT_UNROLL for (int e = 0; e < 4; ++e) {
      const int i = 4 * j + e;
      acc[i] = fma_rn(e % 2 == 0 ? sum.x : sum.y, min[e / 2] * (e % 2 == 0 ? of_x.x : of_x.y), acc[i]);
    }
  }
}

// gelu(gate) up of 32 outputs (a block of the next product's columns) x 72 rows, which four warps have 8 outputs each of, rounded.
CARAT_DEVICE void exact_round(const ExactParams& p, int row_tile, int block, int team, const float* total, uint8_t* scratch) {
  constexpr int kValues = 2 * kExactRowGroups, kPlane = kExactRowGroups * 512;
  const int lane = lane_index(), g = lane >> 2, t = lane & 3, quarter = warp_index() % 4, thread = thread_index() % 128;
  const Rounded& out = p.gated;
  auto* largest = reinterpret_cast<uint32_t*>(scratch + 2 * kPlane);  // [quarter][row]
  auto* sums = reinterpret_cast<int32_t*>(largest + 4 * kExactRows);
  auto* inverses = reinterpret_cast<float*>(sums + 4 * kExactRows);
  uint8_t* tile = exact_tile(out, block / kTileBlocks, row_tile * kExactRows);
  const int k = block % kTileBlocks;
  const auto row_of = [&](int i) { return i / 2 * 8 + 2 * t + i % 2; };
  float value[kValues];
  uint32_t top[kValues];
  CARAT_UNROLL for (int i = 0; i < kValues; ++i) {
    const float factor = p.x.factors[least(row_tile * kExactRows + row_of(i), p.rows - 1)];
    const int at = i / 2 * 4 + i % 2;
    value[i] = gelu(factor * total[at]) * (factor * total[at + 2]);
    top[i] = float_bits(value[i]) & 0x7fffffffu;
  }
  CARAT_UNROLL for (int mask = 4; mask < 32; mask *= 2) {
    CARAT_UNROLL for (int i = 0; i < kValues; ++i) {
      const uint32_t other = from_lane_xor(top[i], mask);
      top[i] = other > top[i] ? other : top[i];
    }
  }
  if (g == 0) {
    CARAT_UNROLL for (int i = 0; i < kValues; ++i) largest[quarter * kExactRows + row_of(i)] = top[i];
  }
  team_barrier(1 + team, 128);
  if (thread < kExactRows) {
    uint32_t of_row = largest[thread];
    CARAT_UNROLL for (int other = 1; other < 4; ++other) {
      const uint32_t more = largest[other * kExactRows + thread];
      of_row = more > of_row ? more : of_row;
    }
    const BlockScale scale = scale_of_block(of_row);
    inverses[thread] = scale.inverse;
    *exact_scale(tile, k, thread) = scale.scale;
    const int row = row_tile * kExactRows + thread;
    if (block == 0 && row < p.rows) out.factors[row] = 1.0f;
  }
  team_barrier(1 + team, 128);
  int q[kValues];
  CARAT_UNROLL for (int j = 0; j < kExactRowGroups; ++j) {
    const auto inverse = load<Floats2>(inverses + 8 * j + 2 * t);
    CARAT_UNROLL for (int e = 0; e < 2; ++e) {
      const HalvesOfInteger of = halves_of(value[2 * j + e] * (e == 0 ? inverse.x : inverse.y));
      const int at = j * 512 + exact_at(2 * t + e, 0, quarter * 8 + g);
      q[2 * j + e] = of.q;
      *reinterpret_cast<uint16_t*>(scratch + at) = static_cast<uint16_t>(of.halves);
      *reinterpret_cast<uint16_t*>(scratch + kPlane + at) = static_cast<uint16_t>(of.halves >> 16);
    }
  }
  if (p.sums != 0) {
    CARAT_UNROLL for (int mask = 4; mask < 32; mask *= 2) {
      CARAT_UNROLL for (int i = 0; i < kValues; ++i) q[i] += from_lane_xor(q[i], mask);
    }
    if (g == 0) {
      CARAT_UNROLL for (int i = 0; i < kValues; ++i) sums[quarter * kExactRows + row_of(i)] = q[i];
    }
  }
  team_barrier(1 + team, 128);
  if (p.sums != 0) {
    for (int i = thread; i < 2 * kExactRows; i += 128) {
      const int half = i / kExactRows, row = i % kExactRows;
      *exact_sum(tile, k, half, row) = static_cast<float>(sums[2 * half * kExactRows + row] + sums[(2 * half + 1) * kExactRows + row]);
    }
  }
  for (int i = thread; i < 2 * kExactRowGroups * 32; i += 128) {
    const int group = i / 32;  // of both planes
    uint8_t* to = tile + k / 2 * (2 * kExactPlane) + group * 1024 + k % 2 * 512 + i % 32 * 16;
    *reinterpret_cast<Words4*>(to) = load<Words4>(scratch + i * 16);
  }
}

template <TileType kType>
CARAT_DEVICE void exact_store(const ExactParams& p, int row_tile, int first_group, const float* total) {
  const int lane = lane_index(), g = lane >> 2, t = lane & 3;
  CARAT_UNROLL for (int j = 0; j < kExactRowGroups; ++j) {
    CARAT_UNROLL for (int e = 0; e < 2; ++e) {
      const int row = row_tile * kExactRows + 8 * j + 2 * t + e;
      if (row >= p.rows) continue;
      const float factor = p.x.factors[row];
      float* out = p.out + static_cast<int64_t>(row) * p.out_stride + g;
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        const int group = first_group + half;
        if (group * kTileRows + g >= p.matrix.rows) continue;
        out[(group * p.group_step + p.group_first) * kTileRows] = factor * total[4 * j + 2 * half + e];
      }
    }
  }
}

template <TileType kType, bool kGated>
CARAT_DEVICE void exact_gemm(const ExactParams& p) {
  if constexpr (kWarpgroups) {
    constexpr TileFormat kFormat = tile_format(kType);
    constexpr bool kLarge = exact_sums_are_large(kType), kMin = kFormat.min;
    constexpr int kTileBytes = kFormat.tile_bytes(), kX = exact_x_bytes(kType), kStage = exact_stage_bytes(kType), kStages = exact_stages(kType);
    constexpr int kConsumers = 8, kUnits = kTileBlocks * kFormat.subs, kSteps = 2 / kFormat.subs;
    uint8_t* shared = shared_memory();
    auto* full = reinterpret_cast<uint64_t*>(shared + kStages * kStage + kExactGatedBytes);
    uint64_t* empty = full + kStages;
    const int warp = warp_index(), lane = lane_index(), g = lane >> 2, t = lane & 3;
    next_may_begin();
    begin_stages(full, empty, kStages, kConsumers);
    previous_wait();
    const int chunks = p.matrix.chunks, tiles = p.row_tiles * p.output_tiles, blocks = static_cast<int>(gridDim.x);
    int slot = 0, phase = 0;
    if (warp >= kConsumers) {
      fewer_registers<40>();
      const int piece = lane * 4 + warp - kConsumers;
      for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += blocks) {
        const int row_tile = tile / p.output_tiles;
        const int group = least(tile % p.output_tiles * kExactGroups + least(piece, kExactGroups - 1), p.matrix.groups - 1);
        const uint8_t* from = p.matrix.data + static_cast<int64_t>(group) * chunks * kTileBytes;
        for (int chunk = 0; chunk < chunks; ++chunk) {
          arrival_wait(empty + slot, static_cast<uint32_t>(phase ^ 1));
          warp_barrier();
          if (piece == 0) arrival_expect(full + slot, kStage);
          uint8_t* to = shared + slot * kStage;
          if (piece < kExactGroups) bulk_copy(to + kX + piece * kTileBytes, from + static_cast<int64_t>(chunk) * kTileBytes, kTileBytes, full + slot);
          warp_barrier();
          if (piece == kExactGroups) bulk_copy(to, exact_tile(p.x, chunk, row_tile * kExactRows), kX, full + slot);
          if (++slot == kStages) slot = 0, phase ^= 1;
        }
      }
      return;
    }
    more_registers<232>();
    // One warpgroup stays two chunks behind the other, so that one multiplies while the other rounds.
    int behind = warp / 4;
    if (behind == 1) team_barrier(3, 256);
    const int team = warp / 4, first = team * 8 + warp % 4 * 2;  // the first of this warp's two groups
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += blocks) {
      const int row_tile = tile / p.output_tiles, output_tile = tile % p.output_tiles;
      float total[kExactSums], acc[kExactSums], d[2][kExactSums];
      CARAT_UNROLL for (int i = 0; i < kExactSums; ++i) total[i] = 0.0f;
      uint32_t a[2][2][4];  // of two blocks in turn
      // Starts the products of a unit, into d[unit % 2] (high and low sums into d[0] and d[1] where they are large).
      const auto start = [&](const uint8_t* stage, Cores rows, int unit) {
        const int block = unit / kFormat.subs, sub = unit % kFormat.subs;
        uint32_t(*weights)[4] = a[block % 2];
        if (sub == 0) exact_weights<kType>(stage + kX + first * kTileBytes, block, g, t, weights);
        if constexpr (kLarge) {
          warpgroup_keep_72(d[0]);
          warpgroup_keep_72(d[1]);
        } else {
          warpgroup_keep_72(d[unit % 2]);
        }
        warpgroup_begin();
        CARAT_UNROLL for (int plane = 0; plane < 2; ++plane) {
          CARAT_UNROLL for (int step = 0; step < kSteps; ++step) {
            const int of_block = kSteps == 2 ? step : sub;
            const int at = block / 2 * (2 * kExactPlane) + plane * kExactPlane + (block % 2 * 2 + of_block) * 256;
            float* to = kLarge ? d[plane] : d[unit % 2];
            warpgroup_mma_f16_72(to, weights[of_block], cores_after(rows, at), step == 0 && (kLarge || plane == 0));
          }
        }
        warpgroup_commit();
      };
      float scale[kExactSums];
      const auto finish = [&](const uint8_t* stage, int unit) {
        float* sums = kLarge ? d[0] : d[unit % 2];
        warpgroup_keep_72(sums);
        if constexpr (kLarge) warpgroup_keep_72(d[1]);
        CARAT_UNROLL for (int i = 0; i < kExactSums; ++i) {
          const float isum = kLarge ? sums[i] + d[1][i] : sums[i];
          acc[i] = fma_rn(isum, scale[i], unit == 0 ? 0.0f : acc[i]);
        }
        if constexpr (kMin) exact_minima<kType>(stage, stage + kX + first * kTileBytes, unit, g, t, acc);
        if (unit == kUnits - 1) {
          CARAT_UNROLL for (int i = 0; i < kExactSums; ++i) total[i] = total[i] + acc[i];
        }
      };
      for (int chunk = 0; chunk < chunks; ++chunk) {
        arrival_wait(full + slot, static_cast<uint32_t>(phase));
        const uint8_t* stage = shared + slot * kStage;
        const Cores rows = cores_at(stage, 1024);
        // No products stay open from one turn of the loop to the next: the assembler would let each wait for itself.
        if constexpr (!kLarge) start(stage, rows, 0);
        CARAT_UNROLL for (int unit = 0; unit < kUnits; ++unit) {
          if (kLarge || unit + 1 < kUnits) start(stage, rows, kLarge ? unit : unit + 1);
          exact_scales<kType>(stage, stage + kX + first * kTileBytes, unit, g, t, scale);
          if (kLarge || unit + 1 == kUnits) {
            warpgroup_wait<0>();
          } else {
            warpgroup_wait<1>();
          }
          finish(stage, unit);
        }
        if (behind == 0 && chunk == least(1, chunks - 1)) {
          team_arrive(3, 256);
          behind = -1;
        }
        warp_barrier();
        if (lane == 0) arrival_arrive(empty + slot);
        if (++slot == kStages) slot = 0, phase ^= 1;
      }
      if constexpr (kGated) {
        exact_round(p, row_tile, output_tile * 2 + team, team, total, shared + kStages * kStage + team * (kExactGatedBytes / 2));
      } else {
        exact_store<kType>(p, row_tile, output_tile * kExactGroups + first, total);
      }
    }
  }
}

#define CARAT_EXACT_GEMM(name)                                                                                     \
  CARAT_KERNEL(exact_gemm_##name, ExactParams, kExactThreads, 1) { exact_gemm<TileType::k##name, false>(p); }      \
  CARAT_KERNEL(exact_gated_##name, ExactParams, kExactThreads, 1) { exact_gemm<TileType::k##name, true>(p); }
CARAT_CUDA_QUANTISED_TYPES(CARAT_EXACT_GEMM)
#undef CARAT_EXACT_GEMM

}  // namespace carat::cuda
