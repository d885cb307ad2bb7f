// What becomes of a head between its product and attention: norm and rope, by a warp for a row, or for 16 of them.
#pragma once

#include "backend/cuda/device/math.cuh"
#include "backend/cuda/device/rope.cuh"

namespace carat::cuda {

// Lane has elements lane + 32 k of E, which turn with those half a head further. store(element, value) of each.
template <class Store>
CARAT_DEVICE void turn_head(const float* x, const float* weight, const float* cosines, const float* sines, int E, float epsilon,
                            const Store& store) {
  const int lane = lane_index(), half = E / 2;
  float value[8], own[8], cosine[4], sine[4];  // all asked for at once
  CARAT_UNROLL for (int k = 0; k < 8; ++k) {
    const bool there = lane + 32 * k < E;
    value[k] = there ? x[lane + 32 * k] : 0.0f;
    own[k] = there ? weight[lane + 32 * k] : 0.0f;
  }
  CARAT_UNROLL for (int k = 0; k < 4; ++k) {
    const bool there = lane + 32 * k < half;
    cosine[k] = there ? cosines[lane + 32 * k] : 0.0f;
    sine[k] = there ? sines[lane + 32 * k] : 0.0f;
  }
  float partial[4];  // partial sum lane + 32 k of the 128
  CARAT_UNROLL for (int k = 0; k < 4; ++k) partial[k] = fma_rn(value[k + 4], value[k + 4], fma_rn(value[k], value[k], 0.0f));
  const float squares = warp_halves((partial[0] + partial[2]) + (partial[1] + partial[3]));
  const float inverse = inverse_rms(squares, E, epsilon);
  CARAT_UNROLL for (int k = 0; k < 8; ++k) value[k] = (value[k] * inverse) * own[k];
  const int across = half / 32;  // element lane + 32 k turns with lane + 32 (k + across)
  CARAT_UNROLL for (int k = 0; k < 4; ++k) {
    if (k >= across) continue;
    const float a = value[k];
    const float b = across == 4 ? value[k + 4] : across == 3 ? value[k + 3] : across == 2 ? value[k + 2] : value[k + 1];
    const int j = lane + 32 * k;
    store(j, fma_rn(a, cosine[k], -(b * sine[k])));
    store(half + j, fma_rn(b, cosine[k], a * sine[k]));
  }
}

// A head of 256 of 16 rows, as mma leaves it with a warp: sums[4 j + e], column 8 j + 2 (lane % 4) + e % 2 of row row0 + lane / 4 + 8 (e / 2). What
// turn_head does, the same sums in the same order.
CARAT_DEVICE void leave_head(const HeadsParams& p, int head, int row0, int rows, const float* sums) {
  constexpr int E = 256, kOctets = E / 16;  // of half a head
  const int lane = lane_index(), g = lane >> 2, t = lane & 3;
  const int width = (p.heads + 2 * p.kv_heads) * E;
  const bool query = head < p.heads, value = head >= p.heads + p.kv_heads;
  const int own = value ? head - p.heads - p.kv_heads : head - p.heads;
  const float* weight = query ? p.q_norm : p.k_norm;
  CARAT_UNROLL for (int side = 0; side < 2; ++side) {
    const int row = row0 + g + 8 * side;
    const bool there = row < rows;
    const float* x = sums + 2 * side;
    const int place = !query && there ? p.places[row] : 0, slot = place % kKeysPerPage;
    const int64_t base = (static_cast<int64_t>(place / kKeysPerPage) * p.kv_heads + own) * kKeysPerPage * E;
    if (value) {
      auto* at = p.v_cache + base + slot * E + 2 * t;
      CARAT_UNROLL for (int j = 0; j < 2 * kOctets; ++j) {
        const uint32_t pair = pack_halves(clamp_to_half(x[4 * j]), clamp_to_half(x[4 * j + 1]));
        if (there) *reinterpret_cast<uint32_t*>(at + 8 * j) = pair;
      }
      continue;
    }
    float squares[2];
    CARAT_UNROLL for (int e = 0; e < 2; ++e) {
      float partial[kOctets];  // of the 128, those of octet j
      CARAT_UNROLL for (int j = 0; j < kOctets; ++j) {
        const float a = x[4 * j + e], b = x[4 * (j + kOctets) + e];
        partial[j] = fma_rn(b, b, fma_rn(a, a, 0.0f));
      }
      CARAT_UNROLL for (int j = 0; j < 8; ++j) partial[j] = partial[j] + partial[j + 8];
      CARAT_UNROLL for (int j = 0; j < 4; ++j) partial[j] = partial[j] + partial[j + 4];
      const float sum = (partial[0] + partial[2]) + (partial[1] + partial[3]);
      squares[e] = sum + from_lane_xor(sum, 2);
      squares[e] = squares[e] + from_lane_xor(squares[e], 1);
    }
    const float inverse = inverse_rms(squares[0] + squares[1], E, p.epsilon);
    if (!there) continue;
    const int64_t angle = static_cast<int64_t>(row) * (E / 2) + 2 * t;
    float* queries = p.qkv + static_cast<int64_t>(row) * width + head * E + 2 * t;
    uint16_t* keys = p.k_cache + base + slot * 8 + 2 * t;
    constexpr int kSome = 8;  // asked for at once
    CARAT_UNROLL for (int first = 0; first < kOctets; first += kSome) {
      Floats2 low[kSome], high[kSome], cosine[kSome], sine[kSome];
      CARAT_UNROLL for (int i = 0; i < kSome; ++i) {
        const int column = 8 * (first + i);
        low[i] = load<Floats2>(weight + column + 2 * t), high[i] = load<Floats2>(weight + column + E / 2 + 2 * t);
        cosine[i] = load<Floats2>(p.cosines + angle + column), sine[i] = load<Floats2>(p.sines + angle + column);
      }
      CARAT_UNROLL for (int i = 0; i < kSome; ++i) {
        const int j = first + i;
        const float a0 = (x[4 * j] * inverse) * low[i].x, a1 = (x[4 * j + 1] * inverse) * low[i].y;
        const float b0 = (x[4 * (j + kOctets)] * inverse) * high[i].x, b1 = (x[4 * (j + kOctets) + 1] * inverse) * high[i].y;
        const float a[2] = {fma_rn(a0, cosine[i].x, -(b0 * sine[i].x)), fma_rn(a1, cosine[i].y, -(b1 * sine[i].y))};
        const float b[2] = {fma_rn(b0, cosine[i].x, a0 * sine[i].x), fma_rn(b1, cosine[i].y, a1 * sine[i].y)};
        if (query) {
          *reinterpret_cast<Floats2*>(queries + 8 * j) = {a[0] * p.query_scale, a[1] * p.query_scale};
          *reinterpret_cast<Floats2*>(queries + E / 2 + 8 * j) = {b[0] * p.query_scale, b[1] * p.query_scale};
        } else {
          *reinterpret_cast<uint32_t*>(keys + j * 8 * kKeysPerPage) = pack_halves(clamp_to_half(a[0]), clamp_to_half(a[1]));
          *reinterpret_cast<uint32_t*>(keys + (j + kOctets) * 8 * kKeysPerPage) = pack_halves(clamp_to_half(b[0]), clamp_to_half(b[1]));
        }
      }
    }
  }
}

}  // namespace carat::cuda
