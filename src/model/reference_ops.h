// The operations of Gemma 3 in plain loops: every sum in double, every result rounded once to float32. Kernel tests
// measure themselves against these, and the reference forward is made of nothing else.
#pragma once

#include <cstdint>
#include <span>

#include "formats/dtype.h"

namespace carat {

// out[t][r] = sum over i of weight[r][i] * x[t][i], for r < rows (at most weight.rows); each weight row is dequantised
// to float32 first.   x: [T][weight.columns]   out: [T][rows]
void matmul_ref(const TensorView& weight, int64_t rows, std::span<const float> x, std::span<float> out);

// x[...][N] *= multiplier[N] / sqrt(mean of squares over N + epsilon), for every run of N elements of x.
void rms_norm_ref(std::span<float> x, std::span<const float> multiplier, float epsilon);

// Rotates every head of one row, at `position / factor`: element j pairs with j + E/2 (the NeoX layout), by the angle
// position / factor * base^(-2j/E).   row: [heads][E]
void rope_ref(std::span<float> row, int32_t head_size, int32_t position, float base, float factor);

// In place, stable for any finite input.
void softmax_ref(std::span<double> scores);

// gelu_pytorch_tanh: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))).
double gelu_tanh_ref(double x);

}  // namespace carat
