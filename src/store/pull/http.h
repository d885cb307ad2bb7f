// HTTP for pulls: several transfers at once on one thread (libcurl's multi interface), each with a time limit for
// standing still, redirects that carry no secret to another host, and errors that are one line. A server is hostile:
// whatever it says is compared with what was asked for before it is believed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace carat {

struct HttpSettings {
  bool plain_http = false;           // http:// is refused unless whoever typed the name asked for it
  int64_t connect_ms = 20'000;       // to reach a server at all
  int64_t stall_ms = 30'000;         // a transfer that brings less than stall_bytes in so long has failed
  int64_t stall_bytes = 32 << 10;    // a byte a second is no download
  int64_t first_wait_ms = 500;       // before the second attempt; doubled for each further one
  int64_t longest_wait_ms = 30'000;  // also for a server's Retry-After
  int attempts = 6;                  // in a row without progress
};

struct HttpRequest {
  std::string method = "GET";  // GET, HEAD, POST, PUT, PATCH
  std::string url;
  std::vector<std::string> headers;  // "Accept: x"
  std::string authorization;         // "Bearer x": only for this url's own scheme, host and port
  std::string body;                  // of POST, PUT and PATCH
  // A body that is read piece by piece instead: how much, and where from (given the offset; returns what it filled, 0 on
  // an error).
  uint64_t upload_bytes = 0;
  std::function<size_t(uint64_t at, std::span<std::byte>)> read_upload;
};

struct HttpHead {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string url;                             // where it came from, after all redirects

  const std::string* find(const std::string& name) const;
  std::optional<uint64_t> number(const std::string& name) const;  // of a header that is a plain number
};

class HttpClient;

// One request on its way, until it is destroyed.
class HttpTransfer {
 public:
  ~HttpTransfer();
  HttpTransfer(const HttpTransfer&) = delete;
  HttpTransfer& operator=(const HttpTransfer&) = delete;

  // Called from HttpClient::run. Returning an error ends the transfer with it.
  using OnHead = std::function<Status(const HttpHead&)>;
  using OnBody = std::function<Status(std::span<const std::byte>)>;

  bool is_done() const { return done_; }
  const Status& status() const { return status_; }   // once it is done: kNetwork, or what a callback returned
  bool is_hopeless() const { return is_hopeless_; }  // it failed in a way that another attempt will not mend
  const HttpHead& head() const { return head_; }

 private:
  friend class HttpClient;
  struct Callbacks;
  HttpTransfer() = default;
  Status arm();
  void finish(int curl_code);
  Status follow();

  HttpClient* client_ = nullptr;
  void* easy_ = nullptr;
  void* header_list_ = nullptr;
  HttpRequest request_;
  std::string first_origin_;
  OnHead on_head_;
  OnBody on_body_;
  HttpHead head_;
  size_t header_bytes_ = 0;
  uint64_t uploaded_bytes_ = 0;
  int redirects_ = 0;
  bool head_told_ = false;
  bool done_ = false;
  bool is_hopeless_ = false;
  bool first_is_private_ = false;
  Status status_;
};

struct HttpAnswer {
  HttpHead head;
  std::string body;
};

class HttpClient {
 public:
  explicit HttpClient(HttpSettings settings);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  const HttpSettings& settings() const { return settings_; }

  // The transfer must not outlive the client.
  std::unique_ptr<HttpTransfer> start(HttpRequest request, HttpTransfer::OnHead on_head, HttpTransfer::OnBody on_body);
  // Moves every transfer on; waits at most so long for something to happen.
  void run(int wait_ms);

  // A whole answer of at most `limit_bytes`. Answers that say "later" (429, 500, 502, 503, 504) and broken connections
  // are tried again. Errors: kNetwork, kCancelled. Another status than 200 is an answer, not an error.
  Result<HttpAnswer> fetch(const HttpRequest& request, size_t limit_bytes, const std::function<bool()>& cancelled);

  // Waits before attempt number `attempt` (1: the second): as long as the server's Retry-After says, if it does.
  Status wait(int attempt, const HttpHead* head, const std::function<bool()>& cancelled);

 private:
  friend class HttpTransfer;
  void* multi_ = nullptr;
  HttpSettings settings_;
};

// "https://host:port" of a URL, in lower case; empty if it is no http or https URL.
std::string origin_of(std::string_view url);
// A URL that a server gave, seen from the one it was given for. Empty if it is not http or https.
std::string resolve_url(const std::string& base, const std::string& relative);
std::string percent_encoded(std::string_view text);  // all but letters, digits, '-', '.', '_', '~', '/'
bool is_busy(int status);                            // 408, 429, 500, 502, 503, 504: later may be better

// Whether an address is in this machine or in a network of its own ("127.0.0.1", "10.1.2.3", "fd00::1"), and whether it
// is link-local, where clouds keep their secrets: no redirect may lead there, nor from outside into a private network.
bool is_private_address(std::string_view address);
bool is_link_local_address(std::string_view address);

}  // namespace carat
