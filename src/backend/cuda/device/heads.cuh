// What becomes of a head between its product and attention: norm and rope, by a warp.
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

}  // namespace carat::cuda
