#include "cli/eval_pictures.h"

#include <fmt/format.h>

#include <cstring>

#include "base/files.h"

namespace carat::cli {
namespace {

using Json = nlohmann::ordered_json;

Error invalid(std::string what) { return {ErrorCode::kInvalidArgument, std::move(what)}; }

Status add_file(const GetEncoder& encoder, const Json& path, bool pan_and_scan, EvalPictures& out, std::string& text) {
  if (!path.is_string()) return invalid(R"("images": expected an array of paths)");
  CARAT_TRY(chat::PictureEncoder * pictures, encoder());
  CARAT_TRY(chat::PromptPicture picture, pictures->encode_file(path.get<std::string>(), pan_and_scan));
  out.images.insert(out.images.end(), picture.images.begin(), picture.images.end());
  text = std::move(picture.text);
  return {};
}

Status add_part(const GetEncoder& encoder, const Json& part, bool pan_and_scan, EvalPictures& out,
                ChatMessage& message) {
  const Error expected = invalid(
      R"("content": expected a text, or parts {"type": "text", "text": ...} and {"type": "image_url", "image_url": {"url": path}})");
  if (!part.is_object()) return expected;
  const std::string type = part.value("type", "");
  if (type == "text" && part.contains("text") && part["text"].is_string()) {
    message.parts.push_back({ChatPart::Kind::kText, part["text"]});
    return {};
  }
  if (type != "image_url" || !part.contains("image_url")) return expected;
  const Json& url = part["image_url"];
  if (url.is_object() && !url.contains("url")) return expected;
  std::string text;
  CARAT_CHECK(add_file(encoder, url.is_object() ? url["url"] : url, pan_and_scan, out, text));
  message.parts.push_back({ChatPart::Kind::kImage, std::move(text)});
  return {};
}

Status add_messages(const GetEncoder& encoder, const Json& list, bool pan_and_scan, EvalPictures& out) {
  const Error expected = invalid(R"("messages": expected [{"role": "...", "content": ...}])");
  if (!list.is_array()) return expected;
  for (const Json& one : list) {
    if (!one.is_object() || !one.contains("role") || !one["role"].is_string() || !one.contains("content")) {
      return expected;
    }
    ChatMessage message{one["role"], {}};
    const Json& content = one["content"];
    if (content.is_string()) {
      message.parts.push_back({ChatPart::Kind::kText, content});
    } else {
      if (!content.is_array()) return expected;
      for (const Json& part : content) CARAT_CHECK(add_part(encoder, part, pan_and_scan, out, message));
    }
    out.messages.push_back(std::move(message));
  }
  return {};
}

}  // namespace

Result<EvalPictures> read_pictures(const GetEncoder& encoder, const Json& line, bool pan_and_scan) {
  EvalPictures out;
  if (!line.is_object()) return out;
  if (const auto messages = line.find("messages"); messages != line.end()) {
    CARAT_CHECK(add_messages(encoder, *messages, pan_and_scan, out));
  }
  if (const auto images = line.find("images"); images != line.end()) {
    if (!images->is_array()) return invalid(R"("images": expected an array of paths)");
    std::string text;
    for (const Json& path : *images) CARAT_CHECK(add_file(encoder, path, pan_and_scan, out, text));
  }
  if (const auto pixels = line.find("pixels"); pixels != line.end()) {
    if (!pixels->is_string()) return invalid(R"("pixels": expected the path of a .npy file)");
    CARAT_TRY(chat::PictureEncoder * pictures, encoder());
    const VisionConfig& config = pictures->config();
    CARAT_TRY(const std::vector<float> values, read_pixels(pixels->get<std::string>(), config.image_size));
    for (size_t begin = 0; begin < values.size(); begin += config.pixels()) {
      CARAT_TRY(chat::EncodedImage image, pictures->encode_pixels(std::span(values).subspan(begin, config.pixels())));
      out.images.push_back(std::move(image));
    }
  }
  return out;
}

Result<std::vector<float>> read_pixels(const std::string& path, int32_t size) {
  constexpr size_t kMostBytes = size_t{1} << 30;
  CARAT_TRY(const std::string bytes, read_file(path, kMostBytes));
  const Error wrong{
      ErrorCode::kCorruptFile,
      fmt::format("{}: expected a .npy file of little-endian float32 [images, 3, {}, {}]", path, size, size)};
  // Version 1: magic, version, two bytes of length, a Python dictionary, the values.
  constexpr size_t kPrefix = 10;
  if (bytes.size() < kPrefix || !bytes.starts_with("\x93NUMPY\x01")) return wrong;
  const size_t header = static_cast<uint8_t>(bytes[8]) + 256 * size_t{static_cast<uint8_t>(bytes[9])};
  if (bytes.size() < kPrefix + header) return wrong;
  const std::string dictionary = bytes.substr(kPrefix, header);
  const size_t data = bytes.size() - kPrefix - header,
               image = 3 * sizeof(float) * static_cast<size_t>(size) * static_cast<size_t>(size);
  const bool fits = dictionary.find("'descr': '<f4'") != std::string::npos &&
                    dictionary.find("'fortran_order': False") != std::string::npos &&
                    dictionary.find(fmt::format(", 3, {}, {})", size, size)) != std::string::npos;
  if (!fits || data == 0 || data % image != 0) return wrong;
  std::vector<float> values(data / sizeof(float));
  std::memcpy(values.data(), bytes.data() + kPrefix + header, data);
  return values;
}

}  // namespace carat::cli
