// The files of the web page, as web/CMakeLists.txt embeds them. They hold no secret: they are served without an API
// key, so that the page can ask for one. Where the build had no Node.js, "/" is a page that says so, and is the only
// file.
#pragma once

#include <span>
#include <string_view>

namespace carat::server {

struct WebAsset {
  std::string_view path;  // "/", "/web/index-1a2b3c4d.js", ...: compare the request's path with ==
  std::string_view content_type;
  std::string_view bytes;
  std::string_view etag;  // with its quotes
  bool immutable;         // the path names its content (max-age=31536000, immutable); otherwise no-cache
};

// "/" first. The views live as long as the program.
std::span<const WebAsset> web_assets();

bool web_page_was_built();

// What every one of them is served with: nothing inline, nothing from elsewhere, no frame around it.
inline constexpr std::string_view kWebSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

}  // namespace carat::server
