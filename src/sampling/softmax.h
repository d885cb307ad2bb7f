// exp, log and log-sum-exp that give the same bits on every machine: a sampled text must not depend on which libm, or
// which of its instruction-set variants, happens to be installed. Plain IEEE double operations only (the build forbids
// contraction).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

#include "sampling/exp_double.h"

namespace carat {

inline double exp_nonpositive(double x) {
  return exp_nonpositive_by(
      x, [](double value) { return std::bit_cast<uint64_t>(value); },
      [](uint64_t bits) { return std::bit_cast<double>(bits); });
}

// Natural logarithm of a positive normal number, absolute error below 1e-15 near 1 and relative below 4e-16 elsewhere.
double log_positive(double x);

// Piece `number` of a row, which begins in it.
inline std::span<const float> piece_of(std::span<const float> logits, size_t number) {
  const std::span<const float> rest = logits.subspan(number * kPieceLogits);
  return rest.first(std::min<size_t>(kPieceLogits, rest.size()));
}

// The sum of e^((logit - peak) / temperature) of at most kPieceLogits logits; -inf counts nothing.
double sum_of_piece(std::span<const float> piece, double peak, double temperature);

// The largest; -inf where there is none. NaN is passed over.
float largest_logit(std::span<const float> logits);

// log(sum of e^logit): the largest logit plus the log of the pieces' sums, which are added in their order.
double log_of_sums(double peak, std::span<const double> sums_of_pieces);
// logits: [V], at least one of them finite, none +inf or NaN; -inf is a probability of zero.
double log_sum_exp(std::span<const float> logits);

}  // namespace carat
