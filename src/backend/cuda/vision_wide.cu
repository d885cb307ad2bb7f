// vision_attend.cu's attention on warpgroups (sm_90): 64 patches of a head each; those of a block (two of two blocks a multiprocessor, or three) share
// the keys and values that one thread asks for. A warpgroup's scores are 64 x 64; weights go from its registers into the values' products. What one
// of them waits for the others fill.
//   kPieces 2: first and second pieces of everything (22 bits), three products for one.
#include "backend/cuda/device/gemm.cuh"
#include "backend/cuda/device/halves.cuh"

namespace carat::cuda {

template <int kPieces>
CARAT_DEVICE void vision_wide(const VisionAttendParams& p) {
  if constexpr (kWarpgroups) {
    constexpr float kNothing = -1e30f;
    constexpr int kStage = kPieces * kVisionStageBytes, kStages = kVisionStages;
    constexpr int kGroups = kVisionKeys / 8, kSteps = kVisionKeys / 16;
    const VisionHeads& h = p.heads;
    uint8_t* shared = shared_memory();
    auto* full = reinterpret_cast<uint64_t*>(shared + kStages * kStage);
    uint64_t* empty = full + kStages;
    const int lane = lane_index(), g = lane >> 2, t = lane & 3, head = static_cast<int>(blockIdx.y);
    const int row0 = static_cast<int>(blockIdx.x) * (block_threads() / 2) + warp_index() * 16;
    const int blocks = (h.patches + kVisionKeys - 1) / kVisionKeys;
    next_may_begin();
    begin_stages(full, empty, kStages, block_threads() / 32);
    previous_wait();
    // The first thread's.
    const auto fetch = [&](int block) {
      if (block >= blocks) return;
      const int slot = block % kStages;
      if (block >= kStages) arrival_wait(empty + slot, static_cast<uint32_t>((block / kStages & 1) ^ 1));
      arrival_expect(full + slot, kStage);
      const uint8_t* from = h.keys + (static_cast<int64_t>(head) * (h.padded / kVisionKeys) + block) * kVisionStageBytes;
      for (int plane = 0; plane < kPieces; ++plane) {
        bulk_copy(shared + slot * kStage + plane * kVisionStageBytes, from + plane * h.key_plane, kVisionStageBytes, full + slot);
      }
    };
    if (thread_index() == 0) {
      fetch(0);
      fetch(1);
    }
    uint32_t q[kPieces][kHeadSteps][4];
    CARAT_UNROLL for (int plane = 0; plane < kPieces; ++plane) {
      CARAT_UNROLL for (int s = 0; s < kHeadSteps; ++s) {
        const int64_t tile = static_cast<int64_t>(head) * (h.padded / 16) + least(row0 / 16, h.padded / 16 - 1);
        const Words4 v = load<Words4>(h.queries + plane * h.query_plane + (tile * kHeadSteps + s) * 512 + lane * 16);
        q[plane][s][0] = v.x, q[plane][s][1] = v.y, q[plane][s][2] = v.z, q[plane][s][3] = v.w;
      }
    }
    float out[4 * kHeadGroups], largest[2] = {kNothing, kNothing}, sum[2] = {0.0f, 0.0f};
    CARAT_UNROLL for (int i = 0; i < 4 * kHeadGroups; ++i) out[i] = 0.0f;
    for (int block = 0; block < blocks; ++block) {
      if (thread_index() == 0) fetch(block + 2);
      warp_barrier();
      const int slot = block % kStages;
      arrival_wait(full + slot, static_cast<uint32_t>(block / kStages & 1));
      const Cores keys = cores_at(shared + slot * kStage, kHeadSteps * 256);
      const Cores values = cores_at(shared + slot * kStage + kVisionKeyBytes, 1024);
      float s[4 * kGroups];
      warpgroup_keep_64(s);
      warpgroup_begin();
      CARAT_UNROLL for (int step = 0; step < kHeadSteps; ++step) {
        warpgroup_mma_f16_64(s, q[0][step], cores_after(keys, step * 256), step == 0);
        if constexpr (kPieces == 2) {
          warpgroup_mma_f16_64(s, q[1][step], cores_after(keys, step * 256), false);
          warpgroup_mma_f16_64(s, q[0][step], cores_after(keys, kVisionStageBytes + step * 256), false);
        }
      }
      warpgroup_commit();
      warpgroup_wait<0>();
      warpgroup_keep_64(s);
      const int left = h.patches - block * kVisionKeys;
      if (left < kVisionKeys) {
        CARAT_UNROLL for (int i = 0; i < 4 * kGroups; ++i) {
          if (i / 4 * 8 + 2 * t + i % 2 >= left) s[i] = kNothing;
        }
      }
      float top[2] = {s[0], s[2]};
      CARAT_UNROLL for (int i = 0; i < 4 * kGroups; ++i) top[i / 2 % 2] = larger(s[i], top[i / 2 % 2]);
      if (!warp_all(top[0] <= largest[0] + kLeeway && top[1] <= largest[1] + kLeeway)) {
        CARAT_UNROLL for (int half = 0; half < 2; ++half) {
          const float factor = raise_largest(top[half], largest[half]);
          sum[half] = sum[half] * factor;
          CARAT_UNROLL for (int j = 0; j < kHeadGroups; ++j) {
            out[4 * j + 2 * half] = out[4 * j + 2 * half] * factor;
            out[4 * j + 2 * half + 1] = out[4 * j + 2 * half + 1] * factor;
          }
        }
      }
      uint32_t first[kSteps][4], second[kPieces == 2 ? kSteps : 1][4];  // weights of 16 patches, as the first operand
      CARAT_UNROLL for (int n = 0; n < kGroups; ++n) {
        CARAT_UNROLL for (int half = 0; half < 2; ++half) {
          const float a = exp2_near(s[4 * n + 2 * half] - largest[half]), b = exp2_near(s[4 * n + 2 * half + 1] - largest[half]);
          sum[half] = sum[half] + (a + b);
          const uint32_t word = pack_halves(a, b);
          first[n / 2][n % 2 * 2 + half] = word;
          if constexpr (kPieces == 2) second[n / 2][n % 2 * 2 + half] = pack_halves(a - low_half(word), b - high_half(word));
        }
      }
      warpgroup_keep_72(out);
      warpgroup_begin();
      CARAT_UNROLL for (int step = 0; step < kSteps; ++step) {
        warpgroup_mma_f16_72(out, first[step], cores_after(values, step * 256), false);
        if constexpr (kPieces == 2) {
          warpgroup_mma_f16_72(out, second[step], cores_after(values, step * 256), false);
          warpgroup_mma_f16_72(out, first[step], cores_after(values, kVisionStageBytes + step * 256), false);
        }
      }
      warpgroup_commit();
      warpgroup_wait<0>();
      warpgroup_keep_72(out);
      if (lane == 0) arrival_arrive(empty + slot);
    }
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      float all = sum[half];
      all = all + from_lane_xor(all, 1);
      all = all + from_lane_xor(all, 2);
      const float factor = div_rn(p.value_scale, all);
      const int row = row0 + half * 8 + g;
      if (row >= h.patches) continue;
      CARAT_UNROLL for (int j = 0; j < kHeadGroups; ++j) {
        const int column = 8 * j + 2 * t;
        if (column >= p.head_size) continue;
        put_pair(p.to, row, head * p.head_size + column, out[4 * j + 2 * half] * factor, out[4 * j + 2 * half + 1] * factor);
      }
    }
  }
}

CARAT_KERNEL(vision_wide_1, VisionAttendParams, kVisionWideThreads[0], 2) { vision_wide<1>(p); }
CARAT_KERNEL(vision_wide_2, VisionAttendParams, kVisionWideThreads[1], 1) { vision_wide<2>(p); }

}  // namespace carat::cuda
