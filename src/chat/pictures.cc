#include "chat/pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>

#include "base/files.h"
#include "base/memory.h"
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

constexpr std::string_view kEscaped = " ()[]{}$&;'\\\"";  // what a shell's completion puts a backslash before

// Where a name that begins at `begin` may end: at the first space without a backslash before it, or at `quote`.
size_t end_of_name(std::string_view text, size_t begin, char quote) {
  size_t end = begin;
  while (end < text.size()) {
    if (quote != 0 ? text[end] == quote : std::isspace(static_cast<unsigned char>(text[end])) != 0) break;
    end += text[end] == '\\' && end + 1 < text.size() ? 2 : 1;
  }
  return std::min(end, text.size());
}

// "~/my\ cat.jpg" as the system knows it.
std::string path_of(std::string_view typed, const std::string& home) {
  std::string path;
  for (size_t i = 0; i < typed.size(); ++i) {
    if (typed[i] == '\\' && i + 1 < typed.size() && kEscaped.find(typed[i + 1]) != std::string_view::npos) ++i;
    path += typed[i];
  }
  if (path.starts_with("~/") && !home.empty()) path.replace(0, 1, home);
  return path;
}

struct FoundName {
  size_t length = 0;  // of the typed text; 0: none
  std::string path;
};

// The longest beginning of `typed` that names a picture which exists: punctuation may follow it.
FoundName picture_at(std::string_view typed, const std::string& home) {
  for (size_t length = typed.size(); length > 4; --length) {
    const std::string_view name = typed.substr(0, length);
    if (!is_picture_name(name)) continue;
    std::string path = path_of(name, home);
    if (is_file(path)) return {length, std::move(path)};
  }
  return {};
}

bool begins_path(std::string_view text) {
  return text.starts_with("/") || text.starts_with("./") || text.starts_with("../") || text.starts_with("~/");
}

}  // namespace

Result<std::shared_ptr<const VisionTower>> tower_of(const OpenModel& model, const std::string& mmproj) {
  const ResolvedModel& resolved = model.resolved;
  fs::path path = resolved.projector.empty() ? resolved.path : resolved.projector;
  if (!mmproj.empty()) path = mmproj;
  return open_vision(path, model.file.config.width);
}

Error sees_nothing(const std::string& name) {
  return {ErrorCode::kUnsupported,
          fmt::format("{} has no vision tower, so it sees no pictures; gemma3:4b, gemma3:12b and gemma3:27b have one, "
                      "and --mmproj FILE adds one",
                      name)};
}

Result<PictureEncoder> PictureEncoder::of(const OpenModel& model, const BackendOptions& options,
                                          const std::string& mmproj) {
  CARAT_TRY(std::shared_ptr<const VisionTower> tower, tower_of(model, mmproj));
  if (tower) return PictureEncoder(options, std::move(tower));
  return sees_nothing(mmproj.empty() ? model.resolved.name : mmproj);
}

void PictureEncoder::take_ids_of(const Tokenizer& tokenizer) {
  for (auto [piece, id] : {std::pair{"<image_soft_token>", &config_.soft_id},
                           {"<start_of_image>", &config_.begin_id},
                           {"<end_of_image>", &config_.end_id}}) {
    if (const int32_t found = tokenizer.id_of(piece); found >= 0) *id = found;
  }
}

void PictureEncoder::unload_after(std::chrono::steady_clock::duration idle) {
  if (encoder_ && std::chrono::steady_clock::now() - last_used_ >= idle) encoder_.reset();
}

Result<PromptPicture> PictureEncoder::encode_file(const fs::path& path, bool pan_and_scan, const Cancelled& cancelled) {
  CARAT_TRY(const std::vector<uint8_t> bytes, read_picture(path));
  auto picture = encode_bytes(bytes, pan_and_scan, cancelled);
  if (!picture.ok() && picture.error().code == ErrorCode::kInvalidArgument) {
    return Error{picture.error().code, fmt::format("{}: {}", path.string(), picture.error().message)};
  }
  return picture;
}

Result<PromptPicture> PictureEncoder::encode_bytes(std::span<const uint8_t> bytes, bool pan_and_scan,
                                                   const Cancelled& cancelled) {
  CARAT_TRY(const auto tensors, image_tensors(bytes, config().image_size, pan_and_scan));
  PromptPicture result;
  for (const auto& pixels : tensors) {
    CARAT_TRY(EncodedImage image, encode_pixels(pixels, cancelled));
    result.images.push_back(std::move(image));
  }
  result.text = picture_text(result.images.size());
  return result;
}

Result<EncodedImage> PictureEncoder::encode_pixels(std::span<const float> pixels, const Cancelled& cancelled) {
  const uint64_t hash = hash_of(pixels);
  const auto known = std::find_if(known_.begin(), known_.end(), [&](const auto& image) { return image.hash == hash; });
  if (known != known_.end()) return *known;
  if (!encoder_) {
    CARAT_TRY(encoder_, with_memory([&] { return create_vision_encoder(options_, tower_); }));
  }
  CARAT_TRY(std::vector<float> features, with_memory([&] { return encoder_->encode(pixels, cancelled); }));
  last_used_ = std::chrono::steady_clock::now();
  known_.push_front({hash, std::make_shared<const std::vector<float>>(std::move(features))});
  if (known_.size() > kKnownImages) known_.pop_back();
  return known_.front();
}

std::string picture_text(size_t images) {
  std::string image = "\n\n<start_of_image><end_of_image>\n\n";
  if (images < 2) return image;
  std::string text = "Here is the original image " + image + " and here are some crops to help you see better";
  for (size_t i = 1; i < images; ++i) text += " " + image;
  return text;
}

void expand_images(const VisionConfig& config, std::vector<int32_t>& ids) {
  std::vector<int32_t> expanded;
  for (size_t i = 0; i < ids.size(); ++i) {
    expanded.push_back(ids[i]);
    if (ids[i] != config.begin_id || i + 1 == ids.size() || ids[i + 1] != config.end_id) continue;
    expanded.insert(expanded.end(), static_cast<size_t>(config.tokens), config.soft_id);
  }
  ids = std::move(expanded);
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

ChatMessage message_with(const std::vector<PromptPicture>& pictures, std::string text) {
  ChatMessage message{"user", {}};
  for (const PromptPicture& picture : pictures) message.parts.push_back({ChatPart::Kind::kImage, picture.text});
  message.parts.push_back({ChatPart::Kind::kText, std::move(text)});
  return message;
}

TypedPrompt split_typed_prompt(const std::string& prompt, const std::string& home) {
  TypedPrompt typed;
  const std::string_view text(prompt);
  for (size_t i = 0; i < text.size();) {
    const bool starts_word = i == 0 || std::isspace(static_cast<unsigned char>(text[i - 1])) != 0 ||
                             text[i - 1] == '(' || text[i - 1] == '<';
    const char quote = text[i] == '"' || text[i] == '\'' ? text[i] : '\0';
    const size_t begin = i + (quote != 0 ? 1 : 0);
    if (starts_word && begins_path(text.substr(begin))) {
      const FoundName found = picture_at(text.substr(begin, end_of_name(text, begin, quote) - begin), home);
      if (found.length > 0) {
        typed.paths.push_back(found.path);
        i = begin + found.length;
        if (quote != 0 && i < text.size() && text[i] == quote) ++i;
        continue;
      }
    }
    typed.text += text[i++];
  }
  return typed;
}

}  // namespace carat::chat
