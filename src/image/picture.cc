#include "image/picture.h"

#include <fmt/format.h>

#include <cstring>
#include <string_view>

#include "image/decoders.h"

namespace carat {

Status check_picture_size(int64_t width, int64_t height) {
  if (width < 1 || height < 1) return Error{ErrorCode::kInvalidArgument, "the picture is empty"};
  if (width > kMaxPictureSide || height > kMaxPictureSide || width * height > kMaxPicturePixels) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("the picture is {} x {}; at most {} pixels on a side and {} million in all are taken",
                             width, height, kMaxPictureSide, kMaxPicturePixels / 1'000'000)};
  }
  return {};
}

Result<Picture> decode_picture(std::span<const uint8_t> bytes, LineWatcher* watcher) {
  if (bytes.size() > kMaxPictureBytes) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("the picture's file has {} bytes; at most {} are taken", bytes.size(), kMaxPictureBytes)};
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("\xff\xd8\xff")) return decode_jpeg(bytes, watcher);
  if (text.starts_with("\x89PNG\r\n\x1a\n")) return decode_png(bytes);
  if (text.size() >= 12 && text.starts_with("RIFF") && text.substr(8, 4) == "WEBP") return decode_webp(bytes);
  return Error{ErrorCode::kInvalidArgument, "not a picture that can be read: expected JPEG, PNG or WebP"};
}

}  // namespace carat
