#include "server/request_log.h"

#include <cmath>

#include "chat/timestamp.h"
#include "server/json_text.h"

namespace carat::server {

std::string timestamp_now() { return chat::rfc3339(std::chrono::system_clock::now()); }

std::string request_log_line(const HttpServer::Hooks::Done& done) {
  JsonWriter json;
  json.begin_object().field("time", timestamp_now()).field("id", done.request.id);
  json.field("peer", done.request.peer).field("method", done.request.method).field("path", done.request.path);
  json.field("status", done.status).field("bytes", done.bytes);
  json.field("ms", std::round(done.seconds * 1e5) / 1e2);
  if (!done.complete) json.field("complete", false);
  if (!done.note.model.empty()) {
    json.field("model", done.note.model).field("prompt_tokens", done.note.prompt_tokens);
    json.field("cached_tokens", done.note.cached_tokens).field("output_tokens", done.note.output_tokens);
    json.field("finish", done.note.finish);
  }
  json.end_object();
  return json.take();
}

}  // namespace carat::server
