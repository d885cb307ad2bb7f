// One function for each format. The picture's size has been checked when rgb is allocated.
#pragma once

#include "image/picture.h"

namespace carat {

Result<Picture> decode_jpeg(std::span<const uint8_t> bytes, LineWatcher* watcher);
Result<Picture> decode_png(std::span<const uint8_t> bytes);
Result<Picture> decode_webp(std::span<const uint8_t> bytes);

}  // namespace carat
