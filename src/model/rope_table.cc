#include "model/rope_table.h"

#include <cmath>

namespace carat {
namespace {

// e^x for |x| < 40: halved until small, a Taylor series, squared back. Only additions, products and divisions, which
// IEEE 754 defines exactly, so that no libm has a say.
double exp_series(double x) {
  const double small = x / 64;
  double term = 1;
  double sum = 1;
  for (int i = 1; i < 24; ++i) {
    term = term * small / i;
    sum += term;
  }
  for (int i = 0; i < 6; ++i) sum = sum * sum;
  return sum;
}

// Newton's iteration on e^y = x.
double log_newton(double x) {
  double y = 0;
  for (double rest = x; rest > 2; rest /= 2) y += 0.69314718055994531;
  for (int i = 0; i < 8; ++i) y += x * exp_series(-y) - 1;
  return y;
}

// Taylor polynomials on |r| <= pi/4: remainders below 1e-17.
double sin_small(double r) {
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
double cos_small(double r) {
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

}  // namespace

std::vector<double> rope_frequencies(double base, double factor, int32_t head_size) {
  const double log_base = log_newton(base);
  std::vector<double> frequencies(static_cast<size_t>(head_size / 2));
  for (int32_t j = 0; j < head_size / 2; ++j) {
    frequencies[static_cast<size_t>(j)] = exp_series(-log_base * (2.0 * j / head_size)) / factor;
  }
  return frequencies;
}

void rope_row(const std::vector<double>& frequencies, int32_t position, float* cosine, float* sine) {
  // Positions are below 2^18, so quadrant * the high part of pi/2 (33 bits) is exact.
  constexpr double kHalfPiHigh = 1.57079632673412561417;
  constexpr double kHalfPiLow = 6.07710050650619224932e-11;
  for (size_t j = 0; j < frequencies.size(); ++j) {
    const double angle = position * frequencies[j];
    const double quadrant = std::floor(angle * 0.63661977236758134308 + 0.5);
    const double r = (angle - quadrant * kHalfPiHigh) - quadrant * kHalfPiLow;
    const double s = sin_small(r);
    const double c = cos_small(r);
    switch (static_cast<int64_t>(quadrant) & 3) {
      case 0:
        cosine[j] = static_cast<float>(c), sine[j] = static_cast<float>(s);
        break;
      case 1:
        cosine[j] = static_cast<float>(-s), sine[j] = static_cast<float>(c);
        break;
      case 2:
        cosine[j] = static_cast<float>(-c), sine[j] = static_cast<float>(-s);
        break;
      default:
        cosine[j] = static_cast<float>(s), sine[j] = static_cast<float>(-c);
        break;
    }
  }
}

}  // namespace carat
