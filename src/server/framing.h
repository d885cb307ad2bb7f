// How a stream of JSON objects lies in the body of an answer: a line each (Ollama), or server-sent events (OpenAI,
// Anthropic).
#pragma once

#include <string>
#include <string_view>

namespace carat::server {

inline constexpr std::string_view kNdjson = "application/x-ndjson";
inline constexpr std::string_view kEventStream = "text/event-stream; charset=utf-8";
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";

std::string ndjson_line(std::string_view json);
std::string sse_data(std::string_view json);
std::string sse_event(std::string_view event, std::string_view json);

}  // namespace carat::server
