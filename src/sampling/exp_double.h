// e^x for x <= 0 in plain IEEE double operations: the host's and the device's sums of probabilities are the same bits.
#pragma once

#if !defined(__CUDACC_RTC__)
#include <cstdint>
#endif

namespace carat {

// Relative error below 4e-16; below -708 it stays at e^-708 (3e-308) rather than underflow. The two functions take a
// double for its bits, and the other way round.
template <class ToBits, class FromBits>
constexpr double exp_nonpositive_by(double x, ToBits to_bits, FromBits from_bits) {
  constexpr double kLog2E = 0x1.71547652b82fep0;
  constexpr double kLn2High = 0x1.62e42fee00000p-1, kLn2Low = 0x1.a39ef35793c76p-33;  // high: 21 bits end in zeros
  constexpr double kRound = 0x1.8p52;  // adding it leaves the nearest integer in the low bits of the mantissa
  x = x < -708.0 ? -708.0 : x;
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
  const uint64_t power = (to_bits(shifted) + 1023u) << 52;  // 2^k as a double's bits
  return p * from_bits(power);
}

// Logits whose weights are summed in eight lanes, joined by a tree of halves; the sums of such pieces are added in their
// order.
inline constexpr int kPieceLogits = 2048, kPieceLanes = 8;

}  // namespace carat
