// The listener and its connections: one network thread, any number of connections, none of which can hold more than
// its limits. A connection is a small state machine (headers, body, serving) rather than a coroutine: an idle one costs
// its read buffer and little more, and GCC 11 compiles it without surprises.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "server/http.h"
#include "server/request_parser.h"

namespace carat::server {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 11434;                   // 0: any that is free
  std::string certificate_file, key_file;  // both: TLS
  size_t max_connections = 16384;          // more are answered 503 and closed
  size_t header_bytes = 16 << 10;
  size_t send_buffer_bytes = 4 << 20;  // a client that leaves more than this unread is sent away
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds idle_timeout{75'000};   // between requests
  std::chrono::milliseconds write_timeout{30'000};  // without the client taking a byte
  size_t body_bytes_per_second = 1024;              // slower, after the first ten seconds, is 408
};

// What to do with a request when its headers are there.
struct BodyRule {
  std::optional<HttpResponse> refuse;  // answered at once, the body unread
  size_t limit_bytes = 8 << 20;
  // Where the body goes, piece by piece and in order, off the network thread; false refuses the rest. None: into
  // request.body.
  RequestParser::BodySink sink;
};

class HttpServer {
 public:
  struct Hooks {
    std::function<BodyRule(HttpRequest&)> on_header;     // network thread
    std::function<void(const ExchangePtr&)> on_request;  // network thread: hands it on, never waits
    // Runs something that may wait for a disk, on another thread.
    std::function<void(std::function<void()>)> in_background;
    // After each answer, whole or broken off: what was asked, what was said.
    struct Done {
      const HttpRequest& request;
      int status;
      uint64_t bytes;
      double seconds;
      bool complete;
      const Exchange::Note& note;
    };
    std::function<void(const Done&)> on_done;
  };

  // Binds and listens. Errors: kInvalidArgument (an address that is none, a bad certificate), kIo (in use, denied).
  static Result<std::unique_ptr<HttpServer>> listen(const HttpServerOptions& options, Hooks hooks);
  virtual ~HttpServer() = default;

  virtual uint16_t port() const = 0;
  virtual std::string url() const = 0;
  // Serves on the calling thread until stop(), or until a drain is over.
  virtual void run() = 0;
  // Runs `task` on the network thread. Any thread.
  virtual void post(std::function<void()> task) = 0;
  // Runs `task` on the network thread every so often.
  virtual void every(std::chrono::milliseconds interval, std::function<void()> task) = 0;
  // No new connections or requests; run() returns when all answers are out, or after `limit`. Any thread.
  virtual void drain(std::chrono::milliseconds limit) = 0;
  virtual void stop() = 0;
  // Calls `caught` with the number of each SIGINT and SIGTERM, on the network thread.
  virtual void on_signal(std::function<void(int)> caught) = 0;
  virtual size_t connections() const = 0;
};

}  // namespace carat::server
