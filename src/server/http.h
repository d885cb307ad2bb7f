// What the rest of the server knows of HTTP: a request that was read whole, and the exchange through which it is
// answered, at once or piece by piece, from whatever thread. No header of Asio or Beast is seen from here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace carat::server {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  uint64_t id = 0;      // counts the requests of this process
  std::string method;   // as it was sent: "GET"
  std::string target;   // as it was sent: "/api/tags?x=1"
  std::string path;     // decoded, without the query: "/api/tags"
  Headers headers;      // in order; names in lower case
  std::string body;     // all of it
  std::string peer;     // "127.0.0.1:40312"
  std::string account;  // who asks, for fairness and caches: a digest of the API key, or the peer's address
  bool http_1_0 = false;
  Headers reply_headers;         // that go with whatever the answer is
  bool dispatched = false;       // a handler has it
  std::shared_ptr<void> upload;  // what the body was written into, where the route takes it while it comes

  // The first header of that name (lower case), or "".
  std::string_view header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type;  // "": none is sent
  std::string body;
  Headers headers;  // beside content-type, content-length and those of every answer
  // A long body instead of `body`: it is read piece by piece while it is sent, one piece at a time, off the network thread.
  // Returns how much it filled; 0 cuts the answer off.
  uint64_t source_bytes = 0;
  std::function<size_t(std::span<char>)> source = nullptr;
};

std::string_view reason_phrase(int status);

// One request and its answer. The first respond() or begin_stream() counts; what comes after an end, or after the
// client has gone, is dropped. Every function may be called from any thread.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  virtual ~Exchange() = default;

  const HttpRequest& request() const { return request_; }
  HttpRequest& request() { return request_; }

  virtual void respond(HttpResponse response) = 0;

  // An answer of unknown length: each write is one chunk, sent at once.
  virtual void begin_stream(int status, std::string content_type, Headers headers) = 0;
  virtual void write(std::string bytes) = 0;
  virtual void end() = 0;

  // Calls `gone` once, on the network thread, if the client goes away (or is sent away) before the end.
  virtual void on_gone(std::function<void()> gone) = 0;

  // For the request log: what the client asked for, how much, and how it ended.
  struct Note {
    std::string model;
    int64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
    std::string finish;
  };
  virtual void note(Note note) = 0;

 protected:
  HttpRequest request_;
};

using ExchangePtr = std::shared_ptr<Exchange>;

// "%41" to "A"; false for a broken escape or one that stands for NUL.
bool decode_path(std::string_view target, std::string& path);

}  // namespace carat::server
