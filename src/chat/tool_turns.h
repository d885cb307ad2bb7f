// Functions that a model may call, their calls and what they gave, as turns that Gemma 3 knows: its template has no place for any of
// them. What the model is told is what vLLM's template for Gemma 3 tells it (calls as a Python list); where a grammar enforces calls,
// Google's form for JSON.
#pragma once

#include <string>
#include <vector>

#include "tokenizer/chat_template.h"

namespace carat::chat {

struct Tools {
  enum class Form { kPython, kJson };
  std::string json;  // the list of functions, as the model is shown it; empty: none
  Form form = Form::kPython;
};

// The conversation as turns of text: calls, results, and before everything else the functions. Results that follow each other, and a
// user's turn beside them, are one turn.
std::vector<ChatMessage> with_tool_turns(std::vector<ChatMessage> messages, const Tools& tools);

// "[get_weather(city=\"Oslo\")]"
std::string calls_as_python(const std::vector<ToolCall>& calls);

}  // namespace carat::chat
