// The pictures of a line of `carat eval`: files, or pixels that somebody else has prepared.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "chat/pictures.h"
#include "tokenizer/chat_template.h"

namespace carat::cli {

// The encoder of a model that sees, made when the first picture comes.
using GetEncoder = std::function<Result<chat::PictureEncoder*>()>;

struct EvalPictures {
  std::vector<chat::EncodedImage> images;
  std::vector<ChatMessage> messages;  // of a line that has them: pictures are parts of them
};

// Of {"images": ["path", ...]}, {"pixels": "FILE.npy"} (float32 [images, 3, S, S], normalised) or {"messages": [...]}
// in OpenAI's form, whose image_url is a path. Errors: kInvalidArgument; kUnsupported where there are pictures and the
// model sees none; those of PictureEncoder.
Result<EvalPictures> read_pictures(const GetEncoder& encoder, const nlohmann::ordered_json& line, bool pan_and_scan);

// float32 values of a .npy file whose last three sizes are [3, S, S]. Errors: kNotFound, kCorruptFile.
Result<std::vector<float>> read_pixels(const std::string& path, int32_t size);

}  // namespace carat::cli
