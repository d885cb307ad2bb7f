// A picture in memory, and from a file's bytes to one: JPEG, PNG and WebP, by content and not by name. Sizes are checked
// before anything is decoded, so that a small file cannot ask for much memory.
//
// To RGB as Pillow's convert("RGB") does it: an alpha channel is dropped, palettes and grey become RGB, 16 bits lose
// their low 8, CMYK is multiplied out. A JPEG's EXIF orientation is applied (as transformers' load_image does).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace carat {

inline constexpr int32_t kMaxPictureSide = 16384;
inline constexpr int64_t kMaxPicturePixels = 50'000'000;  // 150 MB as RGB
inline constexpr size_t kMaxPictureBytes = 64 << 20;      // of a file

struct Picture {
  int32_t width = 0;
  int32_t height = 0;
  std::vector<uint8_t> rgb;  // [height][width][3]
};

// Who wants a picture's lines while the later ones are still being decoded. Only pictures that lie in memory as they come
// (upright JPEGs) have any to show.
class LineWatcher {
 public:
  virtual ~LineWatcher() = default;
  virtual void begins(const Picture& picture) = 0;  // its size; rgb stays where it is
  virtual void has(int32_t lines) = 0;
  virtual void fails() = 0;  // rgb goes when this returns
};

// Errors: kInvalidArgument, for what is no picture, damaged, too large or empty; nothing of it is repeated.
Result<Picture> decode_picture(std::span<const uint8_t> bytes, LineWatcher* watcher = nullptr);

// Errors: kInvalidArgument for sides that are 0 or too long, or too many pixels.
Status check_picture_size(int64_t width, int64_t height);

}  // namespace carat
