// cos and sin of an angle in double precision: the polynomials of the host's table (model/rope_table.cc), the same bits.
#pragma once

#include "backend/cuda/device/base.cuh"

namespace carat::cuda {

CARAT_DEVICE float clamp_to_half(float x) {  // a NaN stays one
  x = x > 65504.0f ? 65504.0f : x;
  return x < -65504.0f ? -65504.0f : x;
}

CARAT_DEVICE double sin_small(double r) {
  const double s = r * r;
  double p = 1.0 / 355687428096000.0;
  p = p * s - 1.0 / 1307674368000.0;
  p = p * s + 1.0 / 6227020800.0;
  p = p * s - 1.0 / 39916800.0;
  p = p * s + 1.0 / 362880.0;
  p = p * s - 1.0 / 5040.0;
  p = p * s + 1.0 / 120.0;
  p = p * s - 1.0 / 6.0;
  return r + r * s * p;
}
CARAT_DEVICE double cos_small(double r) {
  const double s = r * r;
  double p = 1.0 / 20922789888000.0;
  p = p * s - 1.0 / 87178291200.0;
  p = p * s + 1.0 / 479001600.0;
  p = p * s - 1.0 / 3628800.0;
  p = p * s + 1.0 / 40320.0;
  p = p * s - 1.0 / 720.0;
  p = p * s + 1.0 / 24.0;
  return 1 - 0.5 * s + s * s * p;
}

CARAT_DEVICE void rope_angle(double angle, float* cosine, float* sine) {
  const double quadrant = floor(angle * 0.63661977236758134308 + 0.5);
  const double r = (angle - quadrant * 1.57079632673412561417) - quadrant * 6.07710050650619224932e-11;
  const auto s = static_cast<float>(sin_small(r));
  const auto c = static_cast<float>(cos_small(r));
  const int turn = static_cast<int>(static_cast<int64_t>(quadrant) & 3);
  *cosine = turn == 0 ? c : turn == 1 ? -s : turn == 2 ? -c : s;
  *sine = turn == 0 ? s : turn == 1 ? c : turn == 2 ? -s : -c;
}

}  // namespace carat::cuda
