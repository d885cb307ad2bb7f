// Pictures as a client sent them, before anybody has looked at them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace carat::server {

struct PictureSource {
  std::vector<uint8_t> bytes;
  std::string url;  // instead of bytes: to be fetched
};

// Of a request, in the order in which its messages' parts of kind kImage stand.
struct Pictures {
  std::vector<PictureSource> sources;
  bool pan_and_scan = false;
  bool empty() const { return sources.empty(); }
};

// The source of an OpenAI image_url: a data URI's bytes, or the URL. Errors: kInvalidArgument.
Result<PictureSource> picture_of_url(const std::string& url);
// Base64, as Ollama and Anthropic have it. Errors: kInvalidArgument.
Result<PictureSource> picture_of_base64(std::string_view text);

}  // namespace carat::server
