// exp, log and log-sum-exp that give the same bits on every machine: a sampled text must not depend on which libm, or
// which of its instruction-set variants, happens to be installed. Plain IEEE double operations only (the build forbids
// contraction).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

namespace carat {

// e^x for x <= 0, relative error below 4e-16; below -708 it stays at e^-708 (3e-308) rather than underflow.
inline double exp_nonpositive(double x) {
  constexpr double kLog2E = 0x1.71547652b82fep0;
  constexpr double kLn2High = 0x1.62e42fee00000p-1, kLn2Low = 0x1.a39ef35793c76p-33;  // high: 21 bits end in zeros
  constexpr double kRound = 0x1.8p52;  // adding it leaves the nearest integer in the low bits of the mantissa
  x = std::max(x, -708.0);
  const double shifted = x * kLog2E + kRound;
  const double k = shifted - kRound;
  const double r = (x - k * kLn2High) - k * kLn2Low;  // |r| <= ln 2 / 2
  double p = 1.0 / 6227020800.0;                      // Taylor to r^13: the rest is below 2e-18
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const uint64_t power = (std::bit_cast<uint64_t>(shifted) + 1023u) << 52;  // 2^k as a double's bits
  return p * std::bit_cast<double>(power);
}

// Natural logarithm of a positive normal number, absolute error below 1e-15 near 1 and relative below 4e-16 elsewhere.
double log_positive(double x);

// log(sum of e^logit): the largest logit plus the log of a sum in double, in an order that depends on V alone.
// logits: [V], at least one of them finite, none +inf or NaN; -inf is a probability of zero.
double log_sum_exp(std::span<const float> logits);

}  // namespace carat
