// Errors in the words and shapes of each API.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "server/app.h"
#include "server/http.h"

namespace carat::server {

// The HTTP status of each ErrorCode: the one table.
// The same without this machine's folders: of every absolute path only the last part. For errors of files, which name
// them; whoever runs the server reads the whole text in its log.
Error for_clients(Error error);

int http_status(ErrorCode code);

// Ollama: {"error":"..."}.
HttpResponse ollama_error(int status, std::string_view message);
HttpResponse ollama_error(const Error& error);

// OpenAI: {"error":{"message","type","param","code"}}; types and code as vLLM or Ollama have them.
struct OpenAiError {
  int status = 400;
  std::string message;
  std::string param;  // "": null
  std::string type;   // "": from the status
};
std::string openai_error_json(Flavor flavor, const OpenAiError& error);
HttpResponse openai_error(Flavor flavor, const OpenAiError& error);

// Anthropic: {"type":"error","error":{"type","message"}}.
std::string anthropic_error_json(int status, std::string_view message);
HttpResponse anthropic_error(int status, std::string_view message);

// In the shape of the path's API.
HttpResponse error_for_path(Flavor flavor, std::string_view path, int status, std::string_view message);

// 503 with Retry-After: the queue is full.
HttpResponse too_busy(Flavor flavor, std::string_view path);

HttpResponse json_response(std::string json, int status = 200);

}  // namespace carat::server
