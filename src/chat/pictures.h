// Pictures on their way into a prompt: from a file's bytes to the embeddings that the engine takes, and the text that
// stands for them. The vision tower is loaded when the first picture comes, and what it made is kept by content.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
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
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

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

// The tower of `mmproj`, or the model's own; null where it has none. Errors: those of open_vision.
Result<std::shared_ptr<const VisionTower>> tower_of(const OpenModel& model, const std::string& mmproj);

// What a model without one says to whoever shows it a picture.
Error sees_nothing(const std::string& name);

// One caller at a time.
class PictureEncoder {
 public:
  // Errors: kUnsupported for a model that has no tower, those of open_vision.
  static Result<PictureEncoder> of(const OpenModel& model, const BackendOptions& options, const std::string& mmproj);
  PictureEncoder(BackendOptions options, std::shared_ptr<const VisionTower> tower)
      : options_(std::move(options)), tower_(std::move(tower)), config_(tower_->config) {}

  const VisionConfig& config() const { return config_; }
  // The ids of a picture's tokens are the tokenizer's, where it has them.
  void take_ids_of(const Tokenizer& tokenizer);

  // Errors: kNotFound, kIo; those of decode_picture and create_vision_encoder, the file's name first.
  // kCancelled once `cancelled`, which may be null, says so.
  using Cancelled = std::function<bool()>;
  Result<PromptPicture> encode_file(const std::filesystem::path& path, bool pan_and_scan,
                                    const Cancelled& cancelled = {});
  Result<PromptPicture> encode_bytes(std::span<const uint8_t> bytes, bool pan_and_scan,
                                     const Cancelled& cancelled = {});
  // pixels: [3][S][S], normalised.
  Result<EncodedImage> encode_pixels(std::span<const float> pixels, const Cancelled& cancelled = {});

  // What the tower takes once it is loaded. Errors: those of vision_encoder_bytes.
  Result<uint64_t> needed_bytes() const { return vision_encoder_bytes(options_, *tower_); }
  bool is_loaded() const { return encoder_ != nullptr; }
  // Lets go of the tower, where no picture has come for so long; what it made is kept.
  void unload_after(std::chrono::steady_clock::duration idle);

 private:
  BackendOptions options_;
  std::shared_ptr<const VisionTower> tower_;
  VisionConfig config_;
  std::chrono::steady_clock::time_point last_used_;
  std::unique_ptr<VisionEncoder> encoder_;  // once there has been a picture
  std::deque<EncodedImage> known_;          // the latest ones, newest first
};

// What a prompt says where a picture of so many images stands, as Gemma3Processor has it, but for the soft tokens, which
// not every vocabulary has: expand_images puts their ids between begin and end of each image.
std::string picture_text(size_t images);
void expand_images(const VisionConfig& config, std::vector<int32_t>& ids);

// The message of a user who shows pictures: they come first, as Ollama and Gemma's model card have it.
ChatMessage message_with(const std::vector<PromptPicture>& pictures, std::string text);

// Hands the images to the runs of soft tokens among the request's ids, in order, and replaces those ids by ones of the
// vocabulary. Errors: kInvalidArgument where there are not as many of one as of the other.
Status place_images(const VisionConfig& config, std::span<const EncodedImage> images, Request& request);

// A prompt as it was typed, "what is this? ./cat.jpg", without the names of pictures in it, as Ollama finds them: a
// name begins with ./, ../, ~/ or / and ends in .jpg, .jpeg, .png or .webp; its spaces have a backslash before them, or
// it stands in quotes. `home` is what ~ stands for.
struct TypedPrompt {
  std::string text;
  std::vector<std::string> paths;  // of files that exist
};
TypedPrompt split_typed_prompt(const std::string& prompt, const std::string& home = {});

}  // namespace carat::chat
