// What clients say about tools, from JSON: the functions they offer, which of them are to be called, and calls that were made before.
#pragma once

#include <string>

#include "base/result.h"
#include "server/json_body.h"
#include "server/tools.h"

namespace carat::server {

// The list in the words of OpenAI's chat and of Ollama ({"type": "function", "function": {...}}), of Responses (the same without the
// inner object) or of Anthropic (name and input_schema). Errors: kInvalidArgument, for people.
Status read_tools(const Json& list, OfferedTools& out);
// "none", "auto", "required", "any", or an object that names a function. Without one, tools may be called.
Status read_tool_choice(const Json* choice, OfferedTools& out);

// A call in a message: {"id", "function": {"name", "arguments"}}, the arguments as an object or as its text.
Result<ToolCall> read_tool_call(const Json& json);
Result<ToolCall> tool_call_of(std::string id, std::string name, const Json& arguments);

}  // namespace carat::server
