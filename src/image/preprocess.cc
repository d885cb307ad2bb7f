#include "image/preprocess.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

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

// Line after line of a box comes in, made narrow; what all of its lines have come of can be made short.
class Resizing {
 public:
  Resizing(const Box& box, int32_t width, int32_t height)
      : across_(triangle_filter(box.width, width)),
        down_(triangle_filter(box.height, height)),
        out_row_(static_cast<size_t>(width) * 3),
        narrow_(out_row_ * static_cast<size_t>(box.height)),
        sums_(out_row_) {}

  // Line y of the box.
  void take(size_t y, const uint8_t* line) {
    uint8_t* out = narrow_.data() + y * out_row_;
    for (const Filter::Window& window : across_.windows) {
      int32_t red = 0, green = 0, blue = 0;
      const uint8_t* from = line + static_cast<size_t>(window.begin) * 3;
      const int32_t* k = across_.coefficients.data() + window.first;
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
  // How many lines must have come for line y of the result.
  int32_t needs(size_t y) const { return down_.windows[y].begin + down_.windows[y].count; }
  void give(size_t y, uint8_t* out) {
    const Filter::Window& window = down_.windows[y];
    std::fill(sums_.begin(), sums_.end(), 0);
    for (int32_t i = 0; i < window.count; ++i) {
      const int32_t k = down_.coefficients[window.first + static_cast<size_t>(i)];
      const uint8_t* from = narrow_.data() + static_cast<size_t>(window.begin + i) * out_row_;
      for (size_t x = 0; x < out_row_; ++x) sums_[x] += k * from[x];
    }
    for (size_t x = 0; x < out_row_; ++x) out[x] = rounded(sums_[x]);
  }

 private:
  Filter across_, down_;
  size_t out_row_;
  std::vector<uint8_t> narrow_;
  std::vector<int32_t> sums_;
};

// Resizes a picture that is still being decoded, on a thread of its own: decoding a JPEG keeps one core busy all the time.
class BesideDecoder final : public LineWatcher {
 public:
  explicit BesideDecoder(int32_t size) : size_(size) {}
  ~BesideDecoder() override { stop(); }

  void begins(const Picture& picture) override {
    constexpr int64_t kLeastPixels = 1'000'000;
    if (int64_t{picture.width} * picture.height < kLeastPixels) return;
    rgb_ = picture.rgb.data();
    in_row_ = static_cast<size_t>(picture.width) * 3;
    lines_ = picture.height;
    resizing_.emplace(Box{0, 0, picture.width, picture.height}, size_, size_);
    result_ = {size_, size_, std::vector<uint8_t>(static_cast<size_t>(size_) * static_cast<size_t>(size_) * 3)};
    try {
      thread_ = std::thread([this] { work(); });
    } catch (const std::system_error&) {  // none to be had: the caller does it afterwards
      resizing_.reset();
    }
  }
  void has(int32_t lines) override {
    constexpr int32_t kAtOnce = 16;
    if (!thread_.joinable() || (lines % kAtOnce != 0 && lines != lines_)) return;
    {
      const std::lock_guard lock(mutex_);
      come_ = lines;
    }
    changed_.notify_one();
  }
  void fails() override { stop(); }

  // Of a picture that was decoded: null where there was no thread.
  const Picture* result() {
    if (!thread_.joinable()) return nullptr;
    thread_.join();
    return &result_;
  }

 private:
  void stop() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  void work() {
    int32_t taken = 0;
    size_t given = 0;
    while (taken < lines_) {
      int32_t come = 0;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || come_ > taken; });
        if (stopping_) return;
        come = come_;
      }
      for (; taken < come; ++taken)
        resizing_->take(static_cast<size_t>(taken), rgb_ + static_cast<size_t>(taken) * in_row_);
      for (; given < static_cast<size_t>(size_) && resizing_->needs(given) <= taken; ++given) {
        resizing_->give(given, result_.rgb.data() + given * static_cast<size_t>(size_) * 3);
      }
    }
  }

  const int32_t size_;
  const uint8_t* rgb_ = nullptr;
  size_t in_row_ = 0;
  int32_t lines_ = 0;
  std::optional<Resizing> resizing_;
  Picture result_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int32_t come_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

Picture resized(const Picture& picture, const Box& box, int32_t width, int32_t height) {
  const auto in_row = static_cast<size_t>(picture.width) * 3, out_row = static_cast<size_t>(width) * 3;
  Resizing resizing(box, width, height);
  const uint8_t* first = picture.rgb.data() + static_cast<size_t>(box.top) * in_row + static_cast<size_t>(box.left) * 3;
  for (size_t y = 0; y < static_cast<size_t>(box.height); ++y) resizing.take(y, first + y * in_row);
  Picture result{width, height, std::vector<uint8_t>(out_row * static_cast<size_t>(height))};
  for (size_t y = 0; y < static_cast<size_t>(height); ++y) resizing.give(y, result.rgb.data() + y * out_row);
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

Result<std::vector<std::vector<float>>> image_tensors(std::span<const uint8_t> bytes, int32_t size, bool pan_and_scan) {
  BesideDecoder beside(size);
  CARAT_TRY(const Picture picture, decode_picture(bytes, pan_and_scan ? nullptr : &beside));
  if (const Picture* whole = beside.result(); whole != nullptr) {
    std::vector<std::vector<float>> tensors;
    tensors.push_back(normalised(*whole));
    return tensors;
  }
  return image_tensors(picture, size, pan_and_scan);
}

}  // namespace carat
