// Pictures of requests: what a client sent becomes what stands in the prompt for it. Encoding takes milliseconds on a
// GPU and many seconds on a CPU, so it has a thread of its own, which all models share; requests without pictures never
// wait for it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "chat/pictures.h"
#include "engine/request.h"
#include "server/http.h"
#include "server/models.h"
#include "server/picture_source.h"
#include "tokenizer/chat_template.h"

namespace carat::server {

class App;

using SeenPictures = std::vector<chat::PromptPicture>;

// Calls `ready` with all pictures encoded: at once where there are none, else on a worker. When the client goes away
// before, they are given up.
// Errors: kUnsupported for a model that has no tower; those of fetch_media and of PictureEncoder.
void look(App& app, const ExchangePtr& exchange, const Lease& model, Pictures pictures,
          std::function<void(Result<SeenPictures>)> ready);

// The text that stands for each picture, into the messages' image parts: the last of `seen` belong to them, where
// messages have been left out at the beginning.
void describe_pictures(std::vector<ChatMessage>& messages, const SeenPictures& seen);

// The ids of a prompt as long as it is with its pictures.
void expand_pictures(const ServedModel& model, const SeenPictures& seen, std::vector<int32_t>& ids);

// Where in `ids` the pictures of these messages lie; their ids become ones of the vocabulary.
// Errors: kInvalidArgument where a control token of a picture stands in a text.
Result<std::vector<ImageSpan>> place_pictures(const ServedModel& model, size_t parts, const SeenPictures& seen,
                                              std::vector<int32_t>& ids);

size_t picture_parts(const std::vector<ChatMessage>& messages);

// What counting tokens needs: each picture as one image, which nobody looks at.
SeenPictures unseen_pictures(const ServedModel& model, size_t count);

}  // namespace carat::server
