#include "chat/pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>

#include "base/files.h"
#include "image/preprocess.h"
#include "store/digest.h"

namespace carat::chat {
namespace {

namespace fs = std::filesystem;

constexpr size_t kKnownImages = 32;  // 2.6 MB each on the 4B

uint64_t hash_of(std::span<const float> pixels) {
  Sha256 hash;
  hash.update(std::as_bytes(pixels));
  const Digest digest = hash.finish();
  uint64_t first;
  std::memcpy(&first, digest.bytes.data(), sizeof(first));
  return first;
}

Result<std::vector<uint8_t>> read_picture(const fs::path& path) {
  CARAT_TRY(const std::string bytes, read_file(path, kMaxPictureBytes));
  return std::vector<uint8_t>(bytes.begin(), bytes.end());
}

bool is_picture_name(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower.ends_with(".jpg") || lower.ends_with(".jpeg") || lower.ends_with(".png") || lower.ends_with(".webp");
}

// Where the word that begins at `begin` ends: at the first space without a backslash before it.
size_t end_of_word(std::string_view text, size_t begin) {
  size_t end = begin;
  while (end < text.size() && std::isspace(static_cast<unsigned char>(text[end])) == 0) {
    end += text[end] == '\\' && end + 1 < text.size() ? 2 : 1;
  }
  return end;
}

// "~/my\ cat.jpg," to the file's name; empty for what is none.
std::string file_of(std::string word) {
  while (!word.empty() && std::strchr(",;:?!)\"'", word.back()) != nullptr) word.pop_back();
  if (!word.starts_with("/") && !word.starts_with("./") && !word.starts_with("../")) return {};
  std::string name;
  for (size_t i = 0; i < word.size(); ++i) {
    if (word[i] == '\\' && i + 1 < word.size()) ++i;
    name += word[i];
  }
  std::error_code error;
  return is_picture_name(name) && fs::is_regular_file(name, error) ? name : std::string();
}

}  // namespace

Result<PictureEncoder> PictureEncoder::of(const OpenModel& model, const BackendOptions& options,
                                          const std::string& mmproj) {
  const ResolvedModel& resolved = model.resolved;
  fs::path path = resolved.projector.empty() ? resolved.path : resolved.projector;
  if (!mmproj.empty()) path = mmproj;
  CARAT_TRY(std::shared_ptr<const VisionTower> tower, open_vision(path, model.file.config.width));
  if (tower) return PictureEncoder(options, std::move(tower));
  return Error{ErrorCode::kUnsupported,
               fmt::format("{} has no vision tower, so it sees no pictures; gemma3:4b, gemma3:12b and gemma3:27b have "
                           "one, and --mmproj FILE adds one",
                           mmproj.empty() ? resolved.name : mmproj)};
}

Result<PromptPicture> PictureEncoder::encode_file(const fs::path& path, bool pan_and_scan) {
  CARAT_TRY(const std::vector<uint8_t> bytes, read_picture(path));
  auto picture = encode_bytes(bytes, pan_and_scan);
  if (!picture.ok() && picture.error().code == ErrorCode::kInvalidArgument) {
    return Error{picture.error().code, fmt::format("{}: {}", path.string(), picture.error().message)};
  }
  return picture;
}

Result<PromptPicture> PictureEncoder::encode_bytes(std::span<const uint8_t> bytes, bool pan_and_scan) {
  CARAT_TRY(const Picture picture, decode_picture(bytes));
  PromptPicture result;
  for (const auto& pixels : image_tensors(picture, config().image_size, pan_and_scan)) {
    CARAT_TRY(EncodedImage image, encode_pixels(pixels));
    result.images.push_back(std::move(image));
  }
  result.text = picture_text(config(), result.images.size());
  return result;
}

Result<EncodedImage> PictureEncoder::encode_pixels(std::span<const float> pixels) {
  const uint64_t hash = hash_of(pixels);
  const auto known = std::find_if(known_.begin(), known_.end(), [&](const auto& image) { return image.hash == hash; });
  if (known != known_.end()) return *known;
  if (!encoder_) {
    CARAT_TRY(encoder_, create_vision_encoder(options_, tower_));
  }
  CARAT_TRY(std::vector<float> features, encoder_->encode(pixels));
  known_.push_front({hash, std::make_shared<const std::vector<float>>(std::move(features))});
  if (known_.size() > kKnownImages) known_.pop_back();
  return known_.front();
}

std::string picture_text(const VisionConfig& config, size_t images) {
  std::string image = "\n\n<start_of_image>";
  for (int32_t i = 0; i < config.tokens; ++i) image += "<image_soft_token>";
  image += "<end_of_image>\n\n";
  if (images < 2) return image;
  std::string text = "Here is the original image " + image + " and here are some crops to help you see better";
  for (size_t i = 1; i < images; ++i) text += " " + image;
  return text;
}

Status place_images(const VisionConfig& config, std::span<const EncodedImage> images, Request& request) {
  const auto count = static_cast<size_t>(std::count(request.prompt.begin(), request.prompt.end(), config.soft_id));
  const auto tokens = static_cast<size_t>(config.tokens);
  if (count != images.size() * tokens) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("the prompt has {} image tokens (id {}), expected {} for {} image{}", count,
                             config.soft_id, images.size() * tokens, images.size(), images.size() == 1 ? "" : "s")};
  }
  auto next = images.begin();
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    if (request.prompt[i] != config.soft_id) continue;
    for (size_t t = 0; t < tokens; ++t) {
      if (i + t >= request.prompt.size() || request.prompt[i + t] != config.soft_id) {
        return Error{
            ErrorCode::kInvalidArgument,
            fmt::format("an image's {} tokens must stand together, and {} stand at position {}", tokens, t, i)};
      }
      request.prompt[i + t] = 0;
    }
    request.images.push_back({static_cast<int32_t>(i), static_cast<int32_t>(i + tokens), next->hash, next->embeddings});
    ++next;
  }
  return {};
}

TypedPrompt split_typed_prompt(const std::string& prompt) {
  TypedPrompt typed;
  for (size_t i = 0; i < prompt.size();) {
    if (std::isspace(static_cast<unsigned char>(prompt[i])) != 0) {
      typed.text += prompt[i++];
      continue;
    }
    const size_t end = end_of_word(prompt, i);
    const std::string word = prompt.substr(i, end - i);
    if (std::string file = file_of(word); !file.empty()) {
      typed.paths.push_back(std::move(file));
    } else {
      typed.text += word;
    }
    i = end;
  }
  return typed;
}

}  // namespace carat::chat
