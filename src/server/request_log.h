// A line of JSON about each request: what, by whom, how long, how it ended. Never what was said, nor a key.
#pragma once

#include <string>

#include "server/http_server.h"

namespace carat::server {

std::string request_log_line(const HttpServer::Hooks::Done& done);
std::string timestamp_now();  // RFC 3339 with nanoseconds, as Ollama's created_at

}  // namespace carat::server
