// Messages of a conversation as OpenAI's chat, its Responses and Anthropic write them, from JSON: texts, pictures, calls of tools and
// what came of them.
#pragma once

#include <string>
#include <vector>

#include "server/fields.h"
#include "server/picture_source.h"
#include "tokenizer/chat_template.h"

namespace carat::server {

// The content of a message: a text, or a list of parts; a picture becomes a part and a source of its own.
void read_content(const Json& content, ChatMessage& message, std::vector<PictureSource>& pictures, Fields& fields);

// Appends them. `list` may be null.
void read_messages(Fields& fields, const Json* list, std::vector<ChatMessage>& out,
                   std::vector<PictureSource>& pictures);

}  // namespace carat::server
