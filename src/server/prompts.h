// From what a request says to token ids, in the form that its model knows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/http.h"
#include "server/models.h"
#include "server/tools.h"
#include "tokenizer/chat_template.h"

namespace carat::server {

struct ChatPrompt {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true;
  bool continue_final = false;  // the last message, the model's, goes on
  std::string answer_begins{};  // what the answer begins with, as if the model had said it
};

// Errors: kInvalidArgument (roles out of order, none at all), in Hugging Face's words.
Result<std::vector<int32_t>> encode_chat_prompt(const ServedModel& model, const chat::PromptFormat& format,
                                                const ChatPrompt& prompt);

// A text that the caller laid out itself, with whatever control tokens it wants in it; <bos> first.
std::vector<int32_t> encode_text_prompt(const ServedModel& model, std::string_view text, bool add_bos);

// The conversation with its functions, their calls and results as turns. Error: kInvalidArgument, the model only completes text.
Result<std::vector<ChatMessage>> with_tools(const ServedModel& model, std::vector<ChatMessage> messages,
                                            const OfferedTools& tools, const std::optional<Shape>& asked);

// Neighbours of the same role become one message, as Ollama has it.
std::vector<ChatMessage> collated(std::vector<ChatMessage> messages);

std::string text_of(const ChatMessage& message);

// Only these ids, and none of these words: each as it begins a text, and as it follows a space, as vLLM has it.
TokenRules rules_of(const ServedModel& model, std::vector<int32_t> only, const std::vector<std::string>& bad_words);

// What a request shares its part of the prefix cache by: with API keys nobody sees whether another's prompt is known.
// `salt`: the client's own cache_salt.
uint64_t cache_salt(const HttpRequest& request, std::string_view salt = "");

}  // namespace carat::server
