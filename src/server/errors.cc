#include "server/errors.h"

#include "server/json_text.h"

namespace carat::server {
namespace {

constexpr const char* kJson = "application/json; charset=utf-8";

std::string_view openai_type(Flavor flavor, int status) {
  if (flavor == Flavor::kOllama) {
    if (status == 400) return "invalid_request_error";
    return status == 401 ? "authentication_error" : "api_error";
  }
  switch (status) {
    case 400:
      return "BadRequestError";
    case 401:
      return "AuthenticationError";
    case 404:
      return "NotFoundError";
    case 503:
      return "ServiceUnavailableError";
    default:
      return status < 500 ? "BadRequestError" : "InternalServerError";
  }
}

std::string_view anthropic_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status < 500 ? "invalid_request_error" : "api_error";
  }
}

}  // namespace

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kTooLong:
    case ErrorCode::kUnsupported:
      return 400;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kCancelled:
      return 499;
    case ErrorCode::kOutOfMemory:
      return 503;
    case ErrorCode::kCorruptFile:
    case ErrorCode::kIo:
    case ErrorCode::kNetwork:
      break;
  }
  return 500;
}

Error for_clients(Error error) {
  std::string told;
  std::string_view rest = error.message;
  while (!rest.empty()) {
    const bool begins = told.empty() || std::string_view(" '\"(=:,").find(told.back()) != std::string_view::npos;
    if (!begins || rest.front() != '/') {
      told += rest.front();
      rest.remove_prefix(1);
      continue;
    }
    const std::string_view path = rest.substr(0, std::min(rest.find_first_of(" '\"():,;"), rest.size()));
    told += path.substr(path.find_last_of('/') + 1);
    rest.remove_prefix(path.size());
  }
  error.message = std::move(told);
  return error;
}

HttpResponse json_response(std::string json, int status) { return {status, kJson, std::move(json), {}}; }

HttpResponse ollama_error(int status, std::string_view message) {
  JsonWriter json;
  json.begin_object().field("error", message).end_object();
  return json_response(json.take(), status);
}

HttpResponse ollama_error(const Error& error) { return ollama_error(http_status(error.code), error.message); }

std::string openai_error_json(Flavor flavor, const OpenAiError& error) {
  JsonWriter json;
  json.begin_object().key("error").begin_object();
  json.field("message", error.message);
  json.field("type", error.type.empty() ? openai_type(flavor, error.status) : std::string_view(error.type));
  if (error.param.empty()) {
    json.null_field("param");
  } else {
    json.field("param", error.param);
  }
  if (flavor == Flavor::kOllama) {
    json.null_field("code");
  } else {
    json.field("code", error.status);
  }
  json.end_object().end_object();
  return json.take();
}

HttpResponse openai_error(Flavor flavor, const OpenAiError& error) {
  return {error.status, "application/json", openai_error_json(flavor, error), {}};
}

std::string anthropic_error_json(int status, std::string_view message) {
  JsonWriter json;
  json.begin_object().field("type", "error").key("error").begin_object();
  json.field("type", anthropic_type(status)).field("message", message).end_object().end_object();
  return json.take();
}

HttpResponse anthropic_error(int status, std::string_view message) {
  return {status, "application/json", anthropic_error_json(status, message), {}};
}

HttpResponse error_for_path(Flavor flavor, std::string_view path, int status, std::string_view message) {
  if (path.starts_with("/v1/messages")) return anthropic_error(status, message);
  if (path.starts_with("/v1/") || path == "/tokenize" || path == "/detokenize") {
    return openai_error(flavor, {status, std::string(message), "", ""});
  }
  return ollama_error(status, message);
}

HttpResponse too_busy(Flavor flavor, std::string_view path) {
  HttpResponse response =
      error_for_path(flavor, path, 503, "server busy, please try again.  maximum pending requests exceeded");
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace carat::server
