// FunctionGemma's turns: what the functions are stands in a developer's turn before everything else, calls and what they gave in the
// model's own turn, all of it between marks that only the template may write:
//
//   <start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call><start_function_response>response:...
//
// ai.google.dev/gemma/docs/functiongemma/formatting-and-best-practices has an example of each; chat/marked_calls.h reads the answers.
#pragma once

#include <string_view>
#include <vector>

#include "tokenizer/chat_template.h"

namespace carat::server {

// Without it the model only talks.
inline constexpr std::string_view kMayCall =
    "You are a model that can do function calling with the following functions";

// `functions`: the list as OfferedTools::told has it; empty: none. A result that is a JSON object is told as one.
std::vector<ChatMessage> with_marked_turns(std::vector<ChatMessage> messages, std::string_view functions);

}  // namespace carat::server
