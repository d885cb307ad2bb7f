#include "server/picture_source.h"

#include <utility>

#include "server/base64.h"

namespace carat::server {

Result<PictureSource> picture_of_url(const std::string& url) {
  if (!url.starts_with("data:")) return PictureSource{{}, url};
  const size_t comma = url.find(',');
  if (comma == std::string::npos || !std::string_view(url).substr(0, comma).ends_with(";base64")) {
    return Error{ErrorCode::kInvalidArgument, "a picture's data URI: expected data:image/...;base64,..."};
  }
  return picture_of_base64(std::string_view(url).substr(comma + 1));
}

Result<PictureSource> picture_of_base64(std::string_view text) {
  auto bytes = from_base64(text);
  if (!bytes) return Error{ErrorCode::kInvalidArgument, "a picture that is no base64"};
  return PictureSource{std::move(*bytes), ""};
}

}  // namespace carat::server
