// Scales for one sub-block of a K type, by least squares. Internal to quantize.cc and its test.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

namespace carat {

inline int round_clamp(float value, int low, int high) {
  return static_cast<int>(std::nearbyint(std::clamp(value, static_cast<float>(low), static_cast<float>(high))));
}

inline float inverse(float value) { return value != 0 ? 1 / value : 0; }

// The element of the largest magnitude, with its sign; 0 for zeros.
inline float extreme(std::span<const float> x) {
  float best = 0;
  for (const float value : x) {
    if (std::abs(value) > std::abs(best)) best = value;
  }
  return best;
}

// The scale s for x ~ s * q with integers q in [-half, half - 1]. It begins with the one that maps the extreme element
// to -half, then tries grids up to 10% finer and coarser, each with the scale of least squared error for its q.
inline float fit_scale(std::span<const float> x, int half) {
  const float peak = extreme(x);
  if (peak == 0) return 0;
  float best_scale = -peak / static_cast<float>(half);
  double best_error = -1;
  for (int step = 0; step <= 20; ++step) {
    const int offset = step % 2 == 0 ? step / 2 : -(step + 1) / 2;  // 0, -1, 1, -2, 2, ...
    const float inverse_scale = -static_cast<float>(half) * (1 + 0.01f * static_cast<float>(offset)) / peak;
    double xq = 0;
    double qq = 0;
    double xx = 0;
    for (const float value : x) {
      const double q = round_clamp(value * inverse_scale, -half, half - 1);
      xq += value * q;
      qq += q * q;
      xx += static_cast<double>(value) * value;
    }
    if (qq == 0) continue;
    const double error = xx - xq * xq / qq;  // of the best scale for these q
    if (best_error < 0 || error < best_error) {
      best_error = error;
      best_scale = static_cast<float>(xq / qq);
    }
  }
  return best_scale;
}

struct AffineFit {
  float scale = 0;  // both >= 0
  float min = 0;
};

// Scale and minimum for x ~ scale * q - min with integers q in [0, top]. It begins with the grid that spans the
// elements (and 0), then tries narrower ones, each with the scale and minimum of least squared error for its q.
inline AffineFit fit_affine(std::span<const float> x, int top) {
  const float low = std::min(0.0f, *std::min_element(x.begin(), x.end()));
  const float high = std::max(0.0f, *std::max_element(x.begin(), x.end()));
  if (high == low) return {};
  AffineFit best{(high - low) / static_cast<float>(top), -low};
  double best_error = -1;
  for (int step = 0; step <= 10; ++step) {
    const float inverse_scale = (static_cast<float>(top) + 0.1f * static_cast<float>(step)) / (high - low);
    double n = 0, sx = 0, sq = 0, sxq = 0, sqq = 0;
    for (const float value : x) {
      const double q = round_clamp((value - low) * inverse_scale, 0, top);
      n += 1, sx += value, sq += q, sxq += value * q, sqq += q * q;
    }
    const double determinant = n * sqq - sq * sq;
    if (determinant <= 0) continue;
    double scale = (n * sxq - sx * sq) / determinant;
    double min = (sq * scale - sx) / n;
    if (min < 0) {  // only minima up to 0 can be stored: refit through the origin
      min = 0;
      scale = sqq > 0 ? sxq / sqq : 0;
    }
    if (scale <= 0) continue;
    double error = 0;
    for (const float value : x) {
      const double q = round_clamp(static_cast<float>((value + min) / scale), 0, top);
      const double off = scale * q - min - value;
      error += off * off;
    }
    if (best_error < 0 || error < best_error) {
      best_error = error;
      best = {static_cast<float>(scale), static_cast<float>(min)};
    }
  }
  return best;
}

// Index of the nearest of 16 ascending grid values.
inline uint8_t nearest_of(std::span<const int8_t, 16> grid, float value) {
  int best = 0;
  for (int i = 1; i < 16; ++i) {
    if (std::abs(value - static_cast<float>(grid[i])) < std::abs(value - static_cast<float>(grid[best]))) best = i;
  }
  return static_cast<uint8_t>(best);
}

}  // namespace carat
