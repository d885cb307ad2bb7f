// The definition's functions and sums over a row, as backend/cpu/kernels has them.
#pragma once

#include "backend/cuda/device/base.cuh"
#include "backend/cuda/params.h"

namespace carat::cuda {

// What is added to a float between -2^22 and 2^22, it rounds to the nearest integer, ties to even, which are its low bits then:
// conversions run at a quarter of the rate.
inline constexpr float kToInteger = 12582912.0f;  // 1.5 * 2^23

// exp(x): the CPU's polynomial. A NaN stays one.
CARAT_DEVICE float exp_exact(float x) {
  x = no_more(no_less(x, -87.0f), 88.0f);
  const float n = x * 1.44269504088896341f + kToInteger;
  const float nf = n - kToInteger;
  float r = fma_rn(nf, -0.693359375f, x);
  r = fma_rn(nf, 2.12194440e-4f, r);
  float p = 1.0f / 5040.0f;
  p = fma_rn(p, r, 1.0f / 720.0f);
  p = fma_rn(p, r, 1.0f / 120.0f);
  p = fma_rn(p, r, 1.0f / 24.0f);
  p = fma_rn(p, r, 1.0f / 6.0f);
  p = fma_rn(p, r, 0.5f);
  p = fma_rn(p, r, 1.0f);
  p = fma_rn(p, r, 1.0f);
  return p * bits_to_float((float_bits(n) << 23) + (127u << 23));
}

CARAT_DEVICE float gelu(float g) {
  const float cubic = fma_rn((g * g) * g, 0.044715f, g);
  return div_rn(g, 1.0f + exp_exact(cubic * -1.5957691216057308f));
}

// Halves of 32 lanes; every lane gets the sum.
CARAT_DEVICE float warp_halves(float value) {
  CARAT_UNROLL for (int width = 16; width > 0; width /= 2) value = value + from_lane_xor(value, width);
  return value;
}

// Halves of the 128 partial sums that the first threads of a block hold; every thread gets the sum. `scratch`:
// [kRowThreads].
CARAT_DEVICE float block_halves(float partial, float* scratch) {
  const int i = thread_index();
  if (i < kRowThreads) scratch[i] = partial;
  block_barrier();
  const int lane = i & 31;
  const float low = scratch[lane] + scratch[lane + 64];
  const float high = scratch[lane + 32] + scratch[lane + 96];
  const float sum = warp_halves(low + high);
  block_barrier();
  return sum;
}

// From 2^-60 to 2^60: see div_moderate.
CARAT_DEVICE bool is_moderate(float value) { return value >= 0x1p-60f && value <= 0x1p60f; }

CARAT_DEVICE float inverse_rms(float squares, int count, float epsilon) {
  if (is_moderate(squares))
    return div_moderate(1.0f, sqrt_moderate(div_moderate(squares, static_cast<float>(count)) + epsilon));
  return div_rn(1.0f, sqrt_rn(div_rn(squares, static_cast<float>(count)) + epsilon));
}

// A logit and its token as a number: the larger the better, the lower id first among equals. NaN and +inf, which no sound
// model computes, beat everything and so cannot be missed; 0 is less than any. Both zeros are one.
CARAT_DEVICE uint64_t order_of_logit(float logit, int id) {
  const uint32_t bits = float_bits(logit + 0.0f);
  const bool broken = (bits & 0x7fffffffu) > 0x7f800000u || bits == 0x7f800000u;
  const uint32_t ordered = broken ? ~0u : (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | static_cast<uint32_t>(~id);
}

// The logit of an order.
CARAT_DEVICE float logit_of_order(uint64_t order) {
  const auto ordered = static_cast<uint32_t>(order >> 32);
  return bits_to_float((ordered >> 31) != 0 ? ordered & 0x7fffffffu : ~ordered);
}

// e^((logit - peak) / temperature), the sampler's weight.
CARAT_DEVICE double weight_of(float logit, double peak, double temperature) {
  const double weight =
      exp_nonpositive_by((static_cast<double>(logit) - peak) / temperature, double_bits, bits_to_double);
  return float_bits(logit) == 0xff800000u ? 0.0 : weight;
}

CARAT_DEVICE uint16_t to_bf16(float value) {  // to nearest even; NaN stays one
  const uint32_t bits = float_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Where a key of a sequence lies.
CARAT_DEVICE int page_of(const int32_t* pages, int count, int position) {
  const int page = position / kKeysPerPage;
  return pages[page < count ? page : page % count];
}

}  // namespace carat::cuda
