// From what a request says to token ids, in the form that its model knows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/http.h"
#include "server/models.h"
#include "tokenizer/chat_template.h"

namespace carat::server {

struct ChatPrompt {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true;
  bool continue_final = false;  // the last message, the model's, goes on
};

// Errors: kInvalidArgument (roles out of order, none at all), in Hugging Face's words.
Result<std::vector<int32_t>> encode_chat_prompt(const ServedModel& model, const chat::PromptFormat& format,
                                                const ChatPrompt& prompt);

// A text that the caller laid out itself, with whatever control tokens it wants in it; <bos> first.
std::vector<int32_t> encode_text_prompt(const ServedModel& model, std::string_view text, bool add_bos);

// Neighbours of the same role become one message, as Ollama has it.
std::vector<ChatMessage> collated(std::vector<ChatMessage> messages);

std::string text_of(const ChatMessage& message);

// What a request shares its part of the prefix cache by: with API keys nobody sees whether another's prompt is known.
// `salt`: the client's own cache_salt.
uint64_t cache_salt(const HttpRequest& request, std::string_view salt = "");

}  // namespace carat::server
