// Bytes to one HTTP/1.1 request, with limits. Beast's parser does the grammar (and refuses what smuggles requests: two
// lengths, a length beside chunks, bare line feeds); this keeps what it reports, and adds the limits that are ours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "server/http.h"

namespace carat::server {

struct HttpLimits {
  size_t header_bytes = 16 << 10;  // request line and headers together
  size_t body_bytes = 8 << 20;
};

class RequestParser {
 public:
  explicit RequestParser(const HttpLimits& limits);
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // Where the body goes; called with its pieces. Without one it is kept in request().body. False refuses the rest.
  using BodySink = std::function<bool(std::string_view)>;

  // Reads of `bytes` what belongs to this request, and returns how many that were. It stops once after the headers, so
  // that the caller can look at them and set a limit or a sink for the body, and at the end of the request. Look at
  // failed() first.
  size_t put(std::string_view bytes);

  bool has_header() const;
  bool done() const;
  // 0, or the status to answer with: 400, 413, 431, 505. The connection cannot go on after it.
  int failed() const;
  const char* problem() const;  // in words

  // After has_header().
  bool keep_alive() const;
  bool expects_continue() const;
  int64_t content_length() const;  // -1: not given
  bool has_body() const;
  void set_body(size_t limit_bytes, BodySink sink);  // 413 if the length that was announced is beyond it

  HttpRequest& request();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace carat::server
