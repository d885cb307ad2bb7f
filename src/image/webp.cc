// WebP by libwebp: still pictures.
#include <webp/decode.h>

#include "image/decoders.h"

namespace carat {

Result<Picture> decode_webp(std::span<const uint8_t> bytes) {
  const Error damaged{ErrorCode::kInvalidArgument, "the WebP picture is damaged or cut off"};
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(bytes.data(), bytes.size(), &features) != VP8_STATUS_OK) return damaged;
  CARAT_CHECK(check_picture_size(features.width, features.height));
  if (features.has_animation != 0) {
    return Error{ErrorCode::kInvalidArgument, "the WebP picture is an animation, expected a still one"};
  }
  Picture picture{features.width, features.height, {}};
  picture.rgb.resize(static_cast<size_t>(features.width) * static_cast<size_t>(features.height) * 3);
  if (WebPDecodeRGBInto(bytes.data(), bytes.size(), picture.rgb.data(), picture.rgb.size(), features.width * 3) ==
      nullptr) {
    return damaged;
  }
  return picture;
}

}  // namespace carat
