// Angles of rotary position embedding, in double precision with our own polynomials, so that every machine gets the
// same bits.
#pragma once

#include <cstdint>
#include <vector>

namespace carat {

// 1 / (base^(2j / head_size) * factor) for j = 0 .. head_size / 2 - 1.
std::vector<double> rope_frequencies(double base, double factor, int32_t head_size);

// cos and sin of position * frequency[j], rounded once to float32: [head_size / 2] each.
void rope_row(const std::vector<double>& frequencies, int32_t position, float* cosine, float* sine);

}  // namespace carat
