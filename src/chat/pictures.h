// Pictures on their way into a prompt: from a file's bytes to the embeddings that the engine takes, and the text that
// stands for them. The vision tower is loaded when the first picture comes, and what it made is kept by content.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/vision_encoder.h"
#include "base/result.h"
#include "chat/open_model.h"
#include "engine/request.h"
#include "model/vision.h"

namespace carat::chat {

struct EncodedImage {
  uint64_t hash = 0;                                     // of its pixels
  std::shared_ptr<const std::vector<float>> embeddings;  // [tokens][D]
};

// A picture as a prompt has it: the whole of it and, with pan and scan, its crops.
struct PromptPicture {
  std::string text;  // with control tokens, for ChatPart::text
  std::vector<EncodedImage> images;
};

class PictureEncoder {
 public:
  // The tower of `mmproj`, or the model's own. Errors: kUnsupported for a model that has none, those of open_vision.
  static Result<PictureEncoder> of(const OpenModel& model, const BackendOptions& options, const std::string& mmproj);

  const VisionConfig& config() const { return tower_->config; }

  // Errors: kNotFound, kIo; those of decode_picture and create_vision_encoder, the file's name first.
  Result<PromptPicture> encode_file(const std::filesystem::path& path, bool pan_and_scan);
  Result<PromptPicture> encode_bytes(std::span<const uint8_t> bytes, bool pan_and_scan);
  // pixels: [3][S][S], normalised.
  Result<EncodedImage> encode_pixels(std::span<const float> pixels);

 private:
  PictureEncoder(BackendOptions options, std::shared_ptr<const VisionTower> tower)
      : options_(std::move(options)), tower_(std::move(tower)) {}

  BackendOptions options_;
  std::shared_ptr<const VisionTower> tower_;
  std::unique_ptr<VisionEncoder> encoder_;  // once there has been a picture
  std::deque<EncodedImage> known_;          // the latest ones, newest first
};

// What a prompt says where a picture of so many images stands, as Gemma3Processor expands it before it tokenises.
std::string picture_text(const VisionConfig& config, size_t images);

// Hands the images to the runs of soft tokens among the request's ids, in order, and replaces those ids by ones of the
// vocabulary. Errors: kInvalidArgument where there are not as many of one as of the other.
Status place_images(const VisionConfig& config, std::span<const EncodedImage> images, Request& request);

// A prompt as it was typed, "what is this? ./cat.jpg", without the names of pictures in it. A name begins with ./, ../
// or /, at the start of a word, ends in .jpg, .jpeg, .png or .webp, and has a backslash before its spaces.
struct TypedPrompt {
  std::string text;
  std::vector<std::string> paths;  // of files that exist
};
TypedPrompt split_typed_prompt(const std::string& prompt);

}  // namespace carat::chat
