// Attention of the vision tower: every patch sees every other, so nothing is kept but sums. A block for 128 patches of a head,
// 32 of them a warp; keys and values come as fragments of mma, 64 patches at a time, and are used as they lie. Scores are in
// powers of two. A row's largest score is only raised when one exceeds it by 4: weights stay below 16, and the sums are seldom
// rescaled.  kPieces 2: first and second pieces of everything (22 bits), three products for one.
#include "backend/cuda/device/gemm.cuh"
#include "backend/cuda/device/halves.cuh"

namespace carat::cuda {

template <int kPieces>
CARAT_DEVICE void vision_attend(const VisionAttendParams& p) {
  const VisionHeads& h = p.heads;
  constexpr int kStage = kPieces * kVisionStageBytes, kStages = kVisionStages;
  uint8_t* shared = shared_memory();
  auto* arrivals = reinterpret_cast<uint64_t*>(shared + kStages * kStage);
  const int warp = warp_index(), lane = lane_index(), g = lane >> 2, t = lane & 3;
  const int head = static_cast<int>(blockIdx.y), row0 = static_cast<int>(blockIdx.x) * kVisionQueries + warp * 32;
  const int blocks = (h.patches + kVisionKeys - 1) / kVisionKeys;

  GemmPiece piece;  // a block of keys and values, of each plane
  if (lane < kPieces) {
    piece = {h.keys + lane * h.key_plane + static_cast<int64_t>(head) * (h.padded / kVisionKeys) * kVisionStageBytes, kVisionStageBytes,
             lane * kVisionStageBytes, kVisionStageBytes};
  }
  if constexpr (kBulkCopies) {
    if (thread_index() == 0) {
      for (int i = 0; i < kStages; ++i) arrival_init(arrivals + i, 1);
      arrival_fence();
    }
    block_barrier();
  }
  const auto fetch = [&](int block) {
    if (block < blocks) {
      piece.fetch(shared + block % kStages * kStage, arrivals + block % kStages, kPieces, kStage);
    } else if constexpr (!kBulkCopies) {
      copy_async_commit();
    }
  };
  uint32_t q[kPieces][2][kHeadSteps][4];
  CARAT_UNROLL for (int plane = 0; plane < kPieces; ++plane) {
    CARAT_UNROLL for (int m = 0; m < 2; ++m) {
      CARAT_UNROLL for (int s = 0; s < kHeadSteps; ++s) {
        const Words4 v = load<Words4>(h.queries + plane * h.query_plane +
                                      ((static_cast<int64_t>(head) * (h.padded / 16) + row0 / 16 + m) * kHeadSteps + s) * 512 + lane * 16);
        q[plane][m][s][0] = v.x, q[plane][m][s][1] = v.y, q[plane][m][s][2] = v.z, q[plane][m][s][3] = v.w;
      }
    }
  }
  CARAT_UNROLL for (int i = 0; i < kStages - 2; ++i) fetch(i);

  float out[2][kHeadGroups][4], largest[2][2], sum[2][2];
  CARAT_UNROLL for (int m = 0; m < 2; ++m) {
    CARAT_UNROLL for (int half = 0; half < 2; ++half) largest[m][half] = -1e30f, sum[m][half] = 0.0f;
    CARAT_UNROLL for (int j = 0; j < kHeadGroups; ++j) {
      CARAT_UNROLL for (int e = 0; e < 4; ++e) out[m][j][e] = 0.0f;
    }
  }
  // Scores of 32 keys.
  const auto score = [&](int block, int part, float (*s)[4][4]) {
    const uint8_t* keys = shared + block % kStages * kStage + part * 2 * kHeadSteps * 512 + lane * 16;
    CARAT_UNROLL for (int m = 0; m < 2; ++m) {
      CARAT_UNROLL for (int n = 0; n < 4; ++n) {
        CARAT_UNROLL for (int e = 0; e < 4; ++e) s[m][n][e] = 0.0f;
      }
    }
    CARAT_UNROLL for (int i = 0; i < 2; ++i) {  // 16 keys
      CARAT_UNROLL for (int step = 0; step < kHeadSteps; ++step) {
        const Words4 k = load<Words4>(keys + (i * kHeadSteps + step) * 512);
        CARAT_UNROLL for (int m = 0; m < 2; ++m) {
          mma_f16(s[m][2 * i], q[0][m][step], k.x, k.y);
          mma_f16(s[m][2 * i + 1], q[0][m][step], k.z, k.w);
        }
        if constexpr (kPieces == 2) {
          const Words4 rest = load<Words4>(keys + kVisionStageBytes + (i * kHeadSteps + step) * 512);
          CARAT_UNROLL for (int m = 0; m < 2; ++m) {
            mma_f16(s[m][2 * i], q[1][m][step], k.x, k.y);
            mma_f16(s[m][2 * i + 1], q[1][m][step], k.z, k.w);
            mma_f16(s[m][2 * i], q[0][m][step], rest.x, rest.y);
            mma_f16(s[m][2 * i + 1], q[0][m][step], rest.z, rest.w);
          }
        }
      }
    }
  };
  // Their weights, and the values times these.
  const auto weigh = [&](int block, int part, float (*s)[4][4]) {
    const uint8_t* values = shared + block % kStages * kStage + kVisionKeyBytes + part * 2 * kHeadGroups * 256 + lane * 8;
    const int left = h.patches - block * kVisionKeys - part * 32;
    if (left < 32) {
      CARAT_UNROLL for (int n = 0; n < 4; ++n) {
        CARAT_UNROLL for (int e = 0; e < 4; ++e) {
          if (8 * n + 2 * t + e % 2 >= left) s[0][n][e] = s[1][n][e] = -1e30f;
        }
      }
    }
    float top[2][2];
    bool higher = false;
    CARAT_UNROLL for (int m = 0; m < 2; ++m) {
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        float v = s[m][0][2 * half];
        CARAT_UNROLL for (int n = 0; n < 4; ++n) {
          CARAT_UNROLL for (int e = 0; e < 2; ++e) v = larger(s[m][n][2 * half + e], v);
        }
        top[m][half] = v;
        higher = higher || v > largest[m][half] + kLeeway;
      }
    }
    if (!warp_all(!higher)) {
      CARAT_UNROLL for (int m = 0; m < 2; ++m) {
        CARAT_UNROLL for (int half = 0; half < 2; ++half) {
          const float factor = raise_largest(top[m][half], largest[m][half]);
          sum[m][half] = sum[m][half] * factor;
          CARAT_UNROLL for (int j = 0; j < kHeadGroups; ++j) {
            out[m][j][2 * half] = out[m][j][2 * half] * factor;
            out[m][j][2 * half + 1] = out[m][j][2 * half + 1] * factor;
          }
        }
      }
    }
    CARAT_UNROLL for (int i = 0; i < 2; ++i) {
      uint32_t first[2][4], second[2][4];
      CARAT_UNROLL for (int m = 0; m < 2; ++m) {
        CARAT_UNROLL for (int n = 0; n < 2; ++n) {
          CARAT_UNROLL for (int half = 0; half < 2; ++half) {
            const float a = exp2_near(s[m][2 * i + n][2 * half] - largest[m][half]);
            const float b = exp2_near(s[m][2 * i + n][2 * half + 1] - largest[m][half]);
            sum[m][half] = sum[m][half] + (a + b);
            const uint32_t word = pack_halves(a, b);
            first[m][2 * n + half] = word;
            if constexpr (kPieces == 2) second[m][2 * n + half] = pack_halves(a - low_half(word), b - high_half(word));
          }
        }
      }
      CARAT_UNROLL for (int j = 0; j < kHeadGroups; ++j) {
        const Words2Of v = load<Words2Of>(values + (i * kHeadGroups + j) * 256);
        CARAT_UNROLL for (int m = 0; m < 2; ++m) mma_f16(out[m][j], first[m], v.x, v.y);
        if constexpr (kPieces == 2) {
          const Words2Of rest = load<Words2Of>(values + kVisionStageBytes + (i * kHeadGroups + j) * 256);
          CARAT_UNROLL for (int m = 0; m < 2; ++m) {
            mma_f16(out[m][j], second[m], v.x, v.y);
            mma_f16(out[m][j], first[m], rest.x, rest.y);
          }
        }
      }
    }
  };
  const auto wait = [&](int block) {
    if constexpr (kBulkCopies) {
      arrival_wait(arrivals + block % kStages, static_cast<uint32_t>(block / kStages & 1));
    } else {
      copy_async_wait<kStages - 3>();
    }
    block_barrier();  // nobody reads the block before the one before
    fetch(block + kStages - 2);
  };
  for (int block = 0; block < blocks; ++block) {
    wait(block);
    CARAT_UNROLL_1 for (int part = 0; part < 2; ++part) {
      float s[2][4][4];
      score(block, part, s);
      weigh(block, part, s);
    }
  }
  CARAT_UNROLL for (int m = 0; m < 2; ++m) {
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      float all = sum[m][half];
      all = all + from_lane_xor(all, 1);
      all = all + from_lane_xor(all, 2);
      const float factor = div_rn(p.value_scale, all);
      const int row = row0 + m * 16 + half * 8 + g;
      if (row >= h.patches) continue;
      CARAT_UNROLL for (int j = 0; j < kHeadGroups; ++j) {
        const int column = 8 * j + 2 * t;
        if (column >= p.head_size) continue;
        put_pair(p.to, row, head * p.head_size + column, out[m][j][2 * half] * factor, out[m][j][2 * half + 1] * factor);
      }
    }
  }
}

CARAT_KERNEL(vision_attend_1, VisionAttendParams, 128, 2) { vision_attend<1>(p); }
CARAT_KERNEL(vision_attend_2, VisionAttendParams, 128, 1) { vision_attend<2>(p); }

}  // namespace carat::cuda
