// Attention of many rows of one sequence on tensor cores: with Precision::kFast, queries and weights are rounded to 11 bits (as keys and
// values in the cache are); for models of 16-bit weights they are two pieces, 22 bits. Float32 sums. A block for 64 pairs of a position and a query head that read the same keys, 16 a
// warp, a page of 64 keys at a time while the next one is on its way. Softmax as in vision_attend.cu.
#include "backend/cuda/device/attention.cuh"
#include "backend/cuda/device/halves.cuh"

namespace carat::cuda {

template <int kHeadSize, int kPieces>
CARAT_DEVICE void attend_fast(const AttentionParams& p) {
  constexpr int E = kHeadSize, kSteps = E / 16, kOctets = E / 8, kPad = 16;
  constexpr int kKeyBytes = kKeysPerPage * E * 2, kValueStride = E * 2 + kPad, kStage = kKeyBytes + kKeysPerPage * kValueStride;
  constexpr float kLog2e = 1.44269504088896341f, kNothing = -1e30f;
  next_may_begin();
  previous_wait();
  const int group = p.heads / p.kv_heads, kv_head = static_cast<int>(blockIdx.y);
  const int first_row = p.items[2 * blockIdx.x], count = p.items[2 * blockIdx.x + 1], used = count * group;
  const int thread = thread_index(), lane = lane_index(), warp = warp_index(), g = lane >> 2, t = lane & 3;
  uint8_t* queries = shared_memory();  // [warp][step][lane][16 bytes]
  uint8_t* stages = queries + kPieces * kFastQueries * E * 2;

  int first[2], until[2];
  const float* rows[2];
  CARAT_UNROLL for (int half = 0; half < 2; ++half) {
    const int r = warp * 16 + half * 8 + g;  // position r / group, head r % group
    const int64_t row = first_row + least(r / group, count - 1);
    first[half] = first_key(p, p.rows[row].position);
    until[half] = r < used ? p.rows[row].sees_until : -1;
    rows[half] = p.qkv + (row * (p.heads + 2 * p.kv_heads) + kv_head * group + r % group) * E;
  }
  CARAT_UNROLL_1 for (int s = 0; s < kSteps; ++s) {
    uint32_t words[4], rest[4];
    CARAT_UNROLL for (int i = 0; i < 4; ++i) {
      const auto q = load<Floats2>(rows[i % 2] + s * 16 + i / 2 * 8 + 2 * t);
      const float a = q.x * kLog2e, b = q.y * kLog2e;
      words[i] = pack_halves(a, b);
      rest[i] = pack_halves(a - low_half(words[i]), b - high_half(words[i]));
    }
    uint8_t* to = queries + ((warp * kSteps + s) * 32 + lane) * 16;
    *reinterpret_cast<Words4*>(to) = {words[0], words[1], words[2], words[3]};
    if constexpr (kPieces == 2) *reinterpret_cast<Words4*>(to + kFastQueries * E * 2) = {rest[0], rest[1], rest[2], rest[3]};
  }
  const RowInfo info = p.rows[first_row];
  const TileSight sight = sight_of(p, first_row, count, lane);
  const int start = sight.start, end = sight.end, all_from = sight.all_from, all_until = sight.all_until;
  const int32_t* pages = p.pages + p.begin[info.seq];
  const int page_count = p.count[info.seq];
  const auto fetch = [&](int page) {
    if (page <= end / kKeysPerPage) {
      const int64_t at = (static_cast<int64_t>(page_of(pages, page_count, page * kKeysPerPage)) * p.kv_heads + kv_head) * kKeysPerPage * E;
      uint8_t* keys = stages + (page & 1) * kStage;
      uint8_t* values = keys + kKeyBytes;
      for (int i = thread; i < kKeysPerPage * kOctets; i += kFastThreads) {
        copy_async_16(keys + i * 16, p.k_cache + at + i * 8);
        uint8_t* value = values + i / kOctets * kValueStride + i % kOctets * 16;
        if (page * kKeysPerPage + i / kOctets <= end) {
          copy_async_16(value, p.v_cache + at + i * 8);
        } else {  // nobody has written it: it must be a number
          *reinterpret_cast<Words4*>(value) = {0, 0, 0, 0};
        }
      }
    }
    copy_async_commit();
  };

  float out[kOctets][4], largest[2] = {kNothing, kNothing}, sum[2] = {0.0f, 0.0f};
  CARAT_UNROLL for (int j = 0; j < kOctets; ++j) {
    CARAT_UNROLL for (int e = 0; e < 4; ++e) out[j][e] = 0.0f;
  }
  fetch(start / kKeysPerPage);
  for (int page = start / kKeysPerPage; page <= end / kKeysPerPage; ++page) {
    copy_async_wait<0>();
    block_barrier();  // the page is there for all, and nobody reads the one before
    fetch(page + 1);
    const uint8_t* keys = stages + (page & 1) * kStage;
    const uint8_t* values = keys + kKeyBytes;
    const int key0 = page * kKeysPerPage;
    const bool whole = key0 >= all_from && key0 + kKeysPerPage - 1 <= all_until;
    CARAT_UNROLL_1 for (int part = 0; part < 2; ++part) {  // of 32 keys
      float s[4][4];
      CARAT_UNROLL for (int n = 0; n < 4; ++n) {
        CARAT_UNROLL for (int e = 0; e < 4; ++e) s[n][e] = 0.0f;
      }
      CARAT_UNROLL_8 for (int step = 0; step < kSteps; ++step) {
        const uint8_t* own = queries + ((warp * kSteps + step) * 32 + lane) * 16;
        const Words4 v = load<Words4>(own);
        const uint32_t q[4] = {v.x, v.y, v.z, v.w};
        uint32_t rest[4] = {};
        if constexpr (kPieces == 2) {
          const Words4 r = load<Words4>(own + kFastQueries * E * 2);
          rest[0] = r.x, rest[1] = r.y, rest[2] = r.z, rest[3] = r.w;
        }
        const uint8_t* from = keys + (2 * step * kKeysPerPage + part * 32 + g) * 16 + t * 4;
        CARAT_UNROLL for (int n = 0; n < 4; ++n) {
          const auto b0 = load<uint32_t>(from + n * 128), b1 = load<uint32_t>(from + kKeysPerPage * 16 + n * 128);
          mma_f16(s[n], q, b0, b1);
          if constexpr (kPieces == 2) mma_f16(s[n], rest, b0, b1);
        }
      }
      if (!whole) {
        CARAT_UNROLL for (int n = 0; n < 4; ++n) {
          CARAT_UNROLL for (int e = 0; e < 4; ++e) {
            const int key = key0 + part * 32 + 8 * n + 2 * t + e % 2;
            if (key < first[e / 2] || key > until[e / 2]) s[n][e] = kNothing;
          }
        }
      }
      float top[2];
      bool higher = false;
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        float v = s[0][2 * half];
        CARAT_UNROLL for (int n = 0; n < 4; ++n) v = larger(s[n][2 * half], larger(s[n][2 * half + 1], v));
        top[half] = v;
        higher = higher || v > largest[half] + kLeeway;
      }
      if (!warp_all(!higher)) {
        CARAT_UNROLL for (int half = 0; half < 2; ++half) {
          const float factor = raise_largest(top[half], largest[half]);
          sum[half] = sum[half] * factor;
          CARAT_UNROLL for (int j = 0; j < kOctets; ++j) {
            out[j][2 * half] = out[j][2 * half] * factor;
            out[j][2 * half + 1] = out[j][2 * half + 1] * factor;
          }
        }
      }
      CARAT_UNROLL for (int i = 0; i < 2; ++i) {  // 16 keys
        uint32_t weights[4], rest[4] = {};
        CARAT_UNROLL for (int n = 0; n < 2; ++n) {
          CARAT_UNROLL for (int half = 0; half < 2; ++half) {
            const float a = exp2_near(s[2 * i + n][2 * half] - largest[half]);
            const float b = exp2_near(s[2 * i + n][2 * half + 1] - largest[half]);
            sum[half] = sum[half] + (a + b);
            const uint32_t word = weights[2 * n + half] = pack_halves(a, b);
            if constexpr (kPieces == 2) rest[2 * n + half] = pack_halves(a - low_half(word), b - high_half(word));
          }
        }
        const uint8_t* from = values + (part * 32 + i * 16 + (lane & 15)) * kValueStride + (lane >> 4) * 16;
        CARAT_UNROLL for (int j = 0; j < kOctets; j += 2) {
          const Words4 v = load_transposed(from + j * 16);
          mma_f16(out[j], weights, v.x, v.y);
          mma_f16(out[j + 1], weights, v.z, v.w);
          if constexpr (kPieces == 2) {
            mma_f16(out[j], rest, v.x, v.y);
            mma_f16(out[j + 1], rest, v.z, v.w);
          }
        }
      }
    }
  }
  CARAT_UNROLL for (int half = 0; half < 2; ++half) {
    float all = sum[half] + from_lane_xor(sum[half], 1);
    all = all + from_lane_xor(all, 2);
    const float factor = div_rn(1.0f, all);
    const int r = warp * 16 + half * 8 + g;
    if (r >= used) continue;
    float* to = p.out + (static_cast<int64_t>(first_row + r / group) * p.heads + kv_head * group + r % group) * E + 2 * t;
    CARAT_UNROLL for (int j = 0; j < kOctets; ++j) {
      *reinterpret_cast<Floats2*>(to + 8 * j) = {out[j][2 * half] * factor, out[j][2 * half + 1] * factor};
    }
  }
}

CARAT_KERNEL(attend_fast_64, AttentionParams, kFastThreads, 1) { attend_fast<64, 1>(p); }
CARAT_KERNEL(attend_fast_128, AttentionParams, kFastThreads, 1) { attend_fast<128, 1>(p); }
CARAT_KERNEL(attend_fast_256, AttentionParams, kFastThreads, 1) { attend_fast<256, 1>(p); }
CARAT_KERNEL(attend_near_64, AttentionParams, kFastThreads, 1) { attend_fast<64, 2>(p); }
CARAT_KERNEL(attend_near_128, AttentionParams, kFastThreads, 1) { attend_fast<128, 2>(p); }
CARAT_KERNEL(attend_near_256, AttentionParams, kFastThreads, 1) { attend_fast<256, 2>(p); }

}  // namespace carat::cuda
