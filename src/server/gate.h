// Who may come in: API keys, names in Host (against DNS rebinding), and Origin with the answers that browsers want
// (CORS). Decided on the headers alone, before a byte of the body is read.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/http.h"
#include "store/digest.h"

namespace carat::server {

// The keys that open the door, kept as digests only. A file holds one a line, plain or as sha256:<hex>; # begins a
// comment.
class ApiKeys {
 public:
  void add(std::string_view key);
  // Errors: kNotFound, kIo; kInvalidArgument for a file without a key, which would leave the door open.
  Status read_file(const std::filesystem::path& path);
  // Reads the file again if it has changed; an unreadable one leaves the keys as they are.
  void reload_if_changed();

  bool empty() const { return keys_.empty() && file_keys_.empty(); }
  // The digest of the key if it is one of them. Takes the same time for every key of a length.
  std::optional<Digest> check(std::string_view key) const;

 private:
  std::vector<Digest> keys_, file_keys_;
  std::filesystem::path file_;
  std::filesystem::file_time_type file_time_{};
};

struct GateOptions {
  bool loopback = true;                      // the address that is listened on
  std::vector<std::string> allowed_hosts;    // names, beside the usual ones; "*": any
  std::vector<std::string> allowed_origins;  // "https://x.example", "http://localhost:*", "app://*", "*"
};

class Gate {
 public:
  Gate(GateOptions options, ApiKeys keys);

  ApiKeys& keys() { return keys_; }

  // A name or address from a Host header, with or without a port.
  bool host_is_allowed(std::string_view host) const;
  bool origin_is_allowed(std::string_view origin, std::string_view host) const;
  // The key of a request: Authorization: Bearer, or x-api-key.
  static std::string_view key_of(const HttpRequest& request);

  // Headers that let a browser's script read the answer; none without an (allowed) Origin.
  Headers cors_headers(const HttpRequest& request) const;
  // The answer to an OPTIONS request of a browser.
  HttpResponse preflight(const HttpRequest& request, std::string_view allow) const;

 private:
  const GateOptions options_;
  ApiKeys keys_;
  std::string machine_name_;
};

bool is_loopback(std::string_view host);

}  // namespace carat::server
