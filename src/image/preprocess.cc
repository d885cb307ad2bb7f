#include "image/preprocess.h"

#include <algorithm>
#include <cmath>

namespace carat {
namespace {

constexpr int kPrecision = 22;  // bits of a coefficient: Pillow's PRECISION_BITS

// For each output position: which inputs it sees, and how much of each.
struct Filter {
  struct Window {
    int32_t begin = 0, count = 0;
    size_t first = 0;  // its coefficients
  };
  std::vector<Window> windows;
  std::vector<int32_t> coefficients;
};

// Pillow's precompute_coeffs and normalize_coeffs_8bpc for the triangle filter. Its way to round, which lround() is not: what is negative
// ends at 0, and half an ulp below .5 goes up here and there alike.
// NOLINTBEGIN(bugprone-incorrect-roundings)
Filter triangle_filter(int32_t in, int32_t out) {
  const double scale = static_cast<double>(in) / out;
  const double support = std::max(scale, 1.0);
  Filter filter;
  std::vector<double> weights;
  for (int32_t x = 0; x < out; ++x) {
    const double center = (x + 0.5) * scale;
    const auto begin = std::max(0, static_cast<int32_t>(center - support + 0.5));
    const auto end = std::min(in, static_cast<int32_t>(center + support + 0.5));
    weights.clear();
    double sum = 0;
    for (int32_t i = begin; i < end; ++i) {
      weights.push_back(std::max(0.0, 1 - std::abs((i - center + 0.5) / support)));
      sum += weights.back();
    }
    filter.windows.push_back({begin, end - begin, filter.coefficients.size()});
    for (const double weight : weights) {
      filter.coefficients.push_back(static_cast<int32_t>(0.5 + weight / sum * (1 << kPrecision)));
    }
  }
  return filter;
}
// NOLINTEND(bugprone-incorrect-roundings)

// A window's coefficients add up to about 1 << kPrecision, and 255 times that fits.
uint8_t rounded(int32_t sum) {
  return static_cast<uint8_t>(std::clamp((sum + (1 << (kPrecision - 1))) >> kPrecision, 0, 255));
}

}  // namespace

Picture resized(const Picture& picture, const Box& box, int32_t width, int32_t height) {
  const auto in_row = static_cast<size_t>(picture.width) * 3, out_row = static_cast<size_t>(width) * 3;
  const Filter across = triangle_filter(box.width, width), down = triangle_filter(box.height, height);
  std::vector<uint8_t> narrow(out_row * static_cast<size_t>(box.height));
  for (size_t y = 0; y < static_cast<size_t>(box.height); ++y) {
    const uint8_t* line =
        picture.rgb.data() + (static_cast<size_t>(box.top) + y) * in_row + static_cast<size_t>(box.left) * 3;
    uint8_t* out = narrow.data() + y * out_row;
    for (const Filter::Window& window : across.windows) {
      int32_t red = 0, green = 0, blue = 0;
      const uint8_t* from = line + static_cast<size_t>(window.begin) * 3;
      const int32_t* k = across.coefficients.data() + window.first;
      for (int32_t i = 0; i < window.count; ++i, from += 3) {
        red += k[i] * from[0];
        green += k[i] * from[1];
        blue += k[i] * from[2];
      }
      *out++ = rounded(red);
      *out++ = rounded(green);
      *out++ = rounded(blue);
    }
  }
  Picture result{width, height, std::vector<uint8_t>(out_row * static_cast<size_t>(height))};
  std::vector<int32_t> sums(out_row);
  for (size_t y = 0; y < static_cast<size_t>(height); ++y) {
    const Filter::Window& window = down.windows[y];
    std::fill(sums.begin(), sums.end(), 0);
    for (int32_t i = 0; i < window.count; ++i) {
      const int32_t k = down.coefficients[window.first + static_cast<size_t>(i)];
      const uint8_t* from = narrow.data() + static_cast<size_t>(window.begin + i) * out_row;
      for (size_t x = 0; x < out_row; ++x) sums[x] += k * from[x];
    }
    for (size_t x = 0; x < out_row; ++x) result.rgb[y * out_row + x] = rounded(sums[x]);
  }
  return result;
}

std::vector<Box> pan_and_scan_crops(int32_t width, int32_t height) {
  constexpr int32_t kLeastSide = 256, kMostCrops = 4;
  constexpr double kLeastRatio = 1.2;
  const int32_t longer = std::max(width, height), shorter = std::min(width, height);
  const double ratio = static_cast<double>(longer) / shorter;
  if (ratio < kLeastRatio) return {};
  int32_t count = std::min(longer / kLeastSide, static_cast<int32_t>(std::floor(ratio + 0.5)));
  count = std::min(kMostCrops, std::max(2, count));
  const int32_t piece = (longer + count - 1) / count;
  if (std::min(piece, shorter) < kLeastSide) return {};
  std::vector<Box> boxes;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t begin = i * piece, size = std::min(piece, longer - begin);
    if (size < 1) break;
    boxes.push_back(width >= height ? Box{begin, 0, size, height} : Box{0, begin, width, size});
  }
  return boxes;
}

std::vector<float> normalised(const Picture& picture) {
  const size_t pixels = static_cast<size_t>(picture.width) * static_cast<size_t>(picture.height);
  std::vector<float> values(pixels * 3);
  for (size_t i = 0; i < pixels; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      values[c * pixels + i] = (static_cast<float>(picture.rgb[3 * i + c]) * (1.0f / 255.0f) - 0.5f) / 0.5f;
    }
  }
  return values;
}

std::vector<std::vector<float>> image_tensors(const Picture& picture, int32_t size, bool pan_and_scan) {
  std::vector<Box> boxes{{0, 0, picture.width, picture.height}};
  if (pan_and_scan) {
    const std::vector<Box> crops = pan_and_scan_crops(picture.width, picture.height);
    boxes.insert(boxes.end(), crops.begin(), crops.end());
  }
  std::vector<std::vector<float>> tensors;
  tensors.reserve(boxes.size());
  for (const Box& box : boxes) tensors.push_back(normalised(resized(picture, box, size, size)));
  return tensors;
}

}  // namespace carat
